"""What Keras does not give: compiled functions and gradients, three times.

The only module that imports a backend, and only the one that Keras runs on.
"""

import functools

import keras
from keras import ops

BACKEND = keras.backend.backend()

if BACKEND == "tensorflow":
    import tensorflow as tf
elif BACKEND == "jax":
    import jax
elif BACKEND == "torch":
    import torch
else:
    raise ValueError(
        "keras-ncsn runs on the backends tensorflow, jax and torch. Received: "
        f"KERAS_BACKEND={BACKEND}. Set the environment variable before Keras "
        "is imported."
    )


def compile_inference(function, variables=()):
    """Returns `function`, compiled, to be called with tensors or arrays.

    On TensorFlow it becomes a `tf.function`, on JAX it is jitted; PyTorch
    calls it as it is, in inference mode. It reads `variables` as they are at
    each call, so weights may change in between. Random seeds do not advance.

    Args:
        function: Function of tensors that returns a tensor.
        variables: Sequence of Keras variables that `function` reads.

    Returns:
        A function of the same arguments.

    Example:

    >>> double = compile_inference(lambda x: 2.0 * x)
    >>> float(double(3.0))
    6.0
    """
    if BACKEND == "tensorflow":
        return _with_tensors(tf.function(function))
    if BACKEND == "jax":
        return _with_tensors(_jit(function, list(variables)))
    return _with_tensors(torch.inference_mode()(function))


def value_and_gradients(function, variables, state=()):
    """Returns the value of `function` and its gradients.

    Args:
        function: Function without arguments that returns a scalar tensor.
        variables: List of Keras variables to differentiate by.
        state: List of other Keras variables, which `function` may read and
            assign: seeds, moving averages.

    Returns:
        A scalar tensor and a list of tensors shaped like `variables`.

    Example:

    >>> weight = keras.Variable(3.0)
    >>> value, gradients = value_and_gradients(
    ...     lambda: weight * weight, [weight]
    ... )
    >>> float(value), float(gradients[0])
    (9.0, 6.0)
    """
    if BACKEND == "tensorflow":
        with tf.GradientTape() as tape:
            value = function()
        watched = [variable.value for variable in variables]
        return value, tape.gradient(value, watched)
    if BACKEND == "jax":
        return _value_and_gradients_jax(function, list(variables), list(state))
    with torch.enable_grad():
        value = function()
        watched = [variable.value for variable in variables]
        gradients = torch.autograd.grad(value, watched, allow_unused=True)
    return value.detach(), list(gradients)


def update_if(condition, update, variables):
    """Runs `update`, which assigns `variables`, where `condition` holds.

    Args:
        condition: Scalar boolean tensor.
        update: Function without arguments or result.
        variables: List of the Keras variables that `update` assigns.

    Example:

    >>> weight = keras.Variable(1.0)
    >>> update_if(ops.array(False), lambda: weight.assign(2.0), [weight])
    >>> float(ops.stop_gradient(weight.value))
    1.0
    """
    if BACKEND == "tensorflow":

        def run():
            update()
            return True

        tf.cond(condition, run, lambda: False)
    elif BACKEND == "jax":
        # XLA fuses the choice into the update; a branch would copy.
        before = [variable.value for variable in variables]
        update()
        keep_if(condition, variables, before)
    elif bool(condition):
        with torch.no_grad():
            update()


def keep_if(condition, variables, before):
    """Puts old values back into variables where `condition` does not hold.

    Args:
        condition: Scalar boolean tensor.
        variables: List of Keras variables.
        before: List of tensors, what they held.
    """
    for variable, old in zip(variables, before, strict=True):
        variable.assign(ops.where(condition, variable.value, old))


def apply_gradients(optimizer, gradients, variables):
    """Runs one step of a built optimizer, whatever scope it is called in.

    Args:
        optimizer: A built Keras optimizer.
        gradients: List of tensors, the gradients of the scaled loss.
        variables: List of Keras variables shaped like `gradients`.
    """
    if BACKEND != "jax":
        optimizer.apply(gradients, variables)
        return
    # A loss-scaling optimizer branches, and assigning inside a branch does
    # not work on JAX, so the stateless form serves all.
    new_values, new_state = optimizer.stateless_apply(
        [variable.value for variable in optimizer.variables],
        gradients,
        [variable.value for variable in variables],
    )
    # The order of Keras: first the result for the weights, then for the rest.
    for variable, value in zip(variables, new_values, strict=True):
        variable.assign(value)
    for variable, value in zip(optimizer.variables, new_state, strict=True):
        variable.assign(value)


def run_stateless(function, variables, values):
    """Runs a stateful function as JAX wants it, state in and state out.

    Args:
        function: Function without arguments.
        variables: List of Keras variables that it may read and assign.
        values: List of tensors, the values the variables have.

    Returns:
        The result of `function` and the list of new values.
    """
    mapping = list(zip(variables, values, strict=True))
    with keras.StatelessScope(state_mapping=mapping) as scope:
        result = function()
    return result, [_current(scope, *pair) for pair in mapping]


def _current(scope, variable, old):
    new = scope.get_current_value(variable)
    return old if new is None else new


def _value_and_gradients_jax(function, variables, state):
    def pure(values, state_values):
        value, new = run_stateless(
            function, variables + state, [*values, *state_values]
        )
        return value, new[len(variables) :]

    differentiate = jax.value_and_grad(pure, has_aux=True)
    (value, new_state), gradients = differentiate(
        [variable.value for variable in variables],
        [variable.value for variable in state],
    )
    for variable, new in zip(state, new_state, strict=True):
        variable.assign(new)
    return value, gradients


def _jit(function, variables):
    # Variables go in as arguments: closed over, they would be constants.
    @jax.jit
    def pure(values, *args):
        return run_stateless(lambda: function(*args), variables, values)[0]

    def call(*args):
        return pure([variable.value for variable in variables], *args)

    return call


def _with_tensors(function):
    # Arrays and Python numbers become tensors first: TensorFlow would trace
    # anew for each number.
    @functools.wraps(function)
    def call(*args):
        return function(*(_to_tensor(arg) for arg in args))

    return call


def _to_tensor(value):
    # Schedules are float64 NumPy, networks are not.
    if isinstance(value, float) or getattr(value, "dtype", None) == "float64":
        return ops.convert_to_tensor(value, dtype="float32")
    return ops.convert_to_tensor(value)
