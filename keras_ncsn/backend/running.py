"""The backend that Keras runs on, and functions without state for JAX."""

import contextlib

import keras

BACKEND = keras.backend.backend()

if BACKEND not in {"tensorflow", "jax", "torch"}:
    raise ValueError(
        "keras-ncsn runs on the backends tensorflow, jax and torch. Received: "
        f"KERAS_BACKEND={BACKEND}. Set the environment variable before Keras "
        "is imported."
    )


@contextlib.contextmanager
def keeping_values(model):
    """A context whose failure takes no values from the variables of a model.

    On JAX, Keras takes the values out of a model before a first step, and
    gives them back in the end: if a step fails, they would be gone.

    Args:
        model: A Keras model.
    """
    if BACKEND != "jax":
        yield
        return
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.variables, *model.metrics_variables]
    variables += [] if optimizer is None else optimizer.variables
    values = [variable.value for variable in variables]
    try:
        yield
    except BaseException:
        # Of the last step that was whole, if there was one.
        model.jax_state_sync()
        model._jax_state = None
        for variable, value in zip(variables, values, strict=True):
            if variable._value is None:
                variable._value = value
        raise


def run_stateless(function, variables, values, losses=True):
    """Runs a stateful function as JAX wants it, state in and state out.

    Args:
        function: Function without arguments.
        variables: List of Keras variables that it may read and assign.
        values: List of tensors, the values the variables have.
        losses: Boolean, whether layers may add losses, which are known until
            `function` returns. Defaults to `True`.

    Returns:
        The result of `function` and the list of new values.
    """
    mapping = list(zip(variables, values, strict=True))
    # Of activities; without a place to go they would be dropped.
    with keras.StatelessScope(mapping, collect_losses=True) as scope:
        result = function()
    if scope.losses and not losses:
        raise ValueError(
            "Layers must not add losses in a call, such as those of "
            "activities, to a network that sliced score matching trains on "
            "JAX: they would be lost. Leave them out, or use another backend."
        )
    return result, [_current(scope, *pair) for pair in mapping]


def _current(scope, variable, old):
    new = scope.get_current_value(variable)
    return old if new is None else new
