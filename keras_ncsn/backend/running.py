"""The backend that Keras runs on, and functions without state for JAX."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from keras_ncsn.annotations import Tensor

BACKEND = keras.backend.backend()

if BACKEND not in {"tensorflow", "jax", "torch"}:
    raise ValueError(
        "keras-ncsn runs on the backends tensorflow, jax and torch. Received: "
        f"KERAS_BACKEND={BACKEND}. Set the environment variable before Keras "
        "is imported."
    )


@contextlib.contextmanager
def keeping_values(model: keras.Model) -> Iterator[None]:
    """A context in which an error does not destroy the weights of a model.

    On JAX, Keras takes the values out of a model's variables before the first
    step, and puts them back after the last. If a step failed, they would be
    lost.

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
        # Puts back the values of the last complete step, if there was one.
        model.jax_state_sync()
        model._jax_state = None
        for variable, value in zip(variables, values, strict=True):
            if variable._value is None:
                variable._value = value
        raise


def run_stateless(
    function: Callable[[], Any],
    variables: Sequence[Any],
    values: Sequence[Tensor],
    losses: bool = True,
) -> tuple[Any, list[Tensor]]:
    """Runs a stateful function as JAX requires it: state in, state out.

    Args:
        function: Function without arguments.
        variables: Sequence of Keras variables that `function` may read and
            assign.
        values: Sequence of tensors, the values of the variables.
        losses: Boolean, whether layers may add losses in a call. These exist
            only until `function` returns. Defaults to `True`.

    Returns:
        The result of `function`, and the list of the new values.
    """
    mapping = list(zip(variables, values, strict=True))
    # Without `collect_losses`, losses of activity regularizers would be
    # dropped.
    with keras.StatelessScope(mapping, collect_losses=True) as scope:
        result = function()
    if scope.losses and not losses:
        raise ValueError(
            "Layers must not add losses in a call if sliced score matching "
            "trains the network on JAX, because these losses would be lost. "
            f"Received: {len(scope.losses)} losses, such as those of activity "
            "regularizers. Leave them out, or use another backend."
        )
    return result, [_current(scope, *pair) for pair in mapping]


def _current(scope, variable, old):
    new = scope.get_current_value(variable)
    return old if new is None else new
