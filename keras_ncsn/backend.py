"""What Keras does not give: compiled functions and gradients, three times.

The only module that imports a backend, and only the one that Keras runs on.
"""

import contextlib
import functools
import os

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
        A scalar tensor and a list of tensors shaped like `variables`. Where
        several devices share a batch, both are the means over them.

    Example:

    >>> weight = keras.Variable(3.0)
    >>> value, gradients = value_and_gradients(
    ...     lambda: weight * weight, [weight]
    ... )
    >>> float(value), float(gradients[0])
    (9.0, 6.0)
    """
    if BACKEND == "tensorflow":
        context = _replica_context()
        with tf.GradientTape() as tape:
            value = function()
            if context is not None:
                value = value / context.num_replicas_in_sync
        watched = [variable.value for variable in variables]
        gradients = tape.gradient(value, watched)
        if context is not None:
            value, gradients = _sum_over_replicas(context, value, gradients)
        return value, gradients
    if BACKEND == "jax":
        return _value_and_gradients_jax(function, list(variables), list(state))
    with torch.enable_grad():
        value = function()
        watched = [variable.value for variable in variables]
        gradients = torch.autograd.grad(value, watched, allow_unused=True)
    return value.detach(), list(gradients)


def output_and_input_gradient(function, x, direction, variables=()):
    """Returns `function(x)`, and the gradient of its part along `direction`.

    The gradient is that of sum(direction * function(x)) by x: the product of
    `direction` with the Jacobian. Both results can be differentiated by
    `variables` in `value_and_gradients`, but not by x.

    Args:
        function: Function of one tensor that returns a tensor.
        x: Float tensor.
        direction: Tensor shaped like what `function` returns.
        variables: Sequence of all Keras variables that `function` reads or
            assigns.

    Returns:
        A tensor shaped like `direction` and one shaped like `x`.

    Example:

    >>> output, gradient = output_and_input_gradient(
    ...     lambda x: x**3, ops.array([2.0]), ops.array([10.0])
    ... )
    >>> ops.convert_to_numpy(output).tolist()
    [8.0]
    >>> ops.convert_to_numpy(gradient).tolist()
    [120.0]
    """
    if BACKEND == "tensorflow":
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = function(x)
        return output, tape.gradient(output, x, output_gradients=direction)
    if BACKEND == "jax":
        return _input_gradient_jax(function, x, direction, list(variables))
    return _input_gradient_torch(function, x, direction)


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
        if tf.distribute.has_strategy():
            _update_replicas_if(condition, update)
        else:
            _branch(condition, update)
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
    if BACKEND == "tensorflow":
        gradients = _from_first_replica(gradients)
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


def draw_for_batch(draw, batch_size):
    """Draws noise for a batch, which depends on the place in it alone.

    A device that trains on its share of a batch gets what it would get there
    if it had the whole.

    Args:
        draw: Function of a batch size that returns a tensor with as many rows,
            from a seed that is the same on all devices.
        batch_size: Integer or scalar tensor, how many rows are here.

    Returns:
        A tensor with `batch_size` rows.

    Example:

    >>> tuple(draw_for_batch(lambda rows: ops.zeros((rows, 2)), 3).shape)
    (3, 2)
    """
    # JAX and PyTorch see whole batches here; JAX splits them by itself.
    context = _replica_context()
    if context is None:
        return draw(batch_size)
    first = context.replica_id_in_sync_group * batch_size
    whole = draw(context.num_replicas_in_sync * batch_size)
    return whole[first : first + batch_size]


def distribute():
    """Lets models that are built from now on train on all devices at once.

    Returns:
        Integer, the number of devices, in all processes together.
    """
    if BACKEND == "tensorflow":
        devices = tf.config.list_logical_devices("GPU")
        devices = devices or tf.config.list_logical_devices("CPU")
        strategy = tf.distribute.MirroredStrategy([x.name for x in devices])
        tf.distribute.experimental_set_strategy(strategy)
        return strategy.num_replicas_in_sync
    if BACKEND == "jax":
        several = "KERAS_DISTRIBUTION_JOB_ADDRESSES" in os.environ
        if several and not jax.distributed.is_initialized():
            keras.distribution.initialize()
        # Keras splits nothing but a `tf.data.Dataset` among processes.
        distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
        keras.distribution.set_distribution(distribution)
        return distribution.device_mesh.devices.size
    raise ValueError(
        "Training on many devices needs the backend jax or tensorflow, because "
        f"Keras {keras.__version__} has nothing for it on PyTorch. Received: "
        f"KERAS_BACKEND={BACKEND}"
    )


def processes():
    """Returns the index of this process and the number of processes.

    Returns:
        Two integers, `(0, 1)` where there is but one process.
    """
    if BACKEND == "jax":
        return jax.process_index(), jax.process_count()
    return 0, 1


def num_shares():
    """Returns in how many parts the devices here split each batch.

    Returns:
        Integer, 1 where batches stay whole.
    """
    if BACKEND == "tensorflow":
        return tf.distribute.get_strategy().num_replicas_in_sync
    distribution = keras.distribution.distribution()
    if BACKEND == "torch" or distribution is None:
        return 1
    mesh = distribution.device_mesh
    axis = mesh.axis_names.index(distribution.batch_dim_name)
    return max(1, mesh.shape[axis] // jax.process_count())


@contextlib.contextmanager
def on_this_process():
    """A context in which variables are made without the other processes."""
    if BACKEND != "jax":
        yield
        return
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def _replica_context():
    # The place of what runs here among several replicas, else none.
    if BACKEND != "tensorflow":
        return None
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None
    return context


def _sum_over_replicas(context, value, gradients):
    present = [
        tf.convert_to_tensor(gradient)
        for gradient in gradients
        if gradient is not None
    ]
    value, *sums = context.all_reduce("SUM", [value, *present])
    sums = iter(sums)
    return value, [
        None if gradient is None else next(sums) for gradient in gradients
    ]


def _from_first_replica(gradients):
    # Keras sums over the replicas, which here has been done before.
    context = _replica_context()
    if context is None:
        return gradients
    first = tf.equal(context.replica_id_in_sync_group, 0)
    return [
        None
        if gradient is None
        else tf.where(first, gradient, tf.zeros_like(gradient))
        for gradient in gradients
    ]


def _branch(condition, update):
    def run():
        update()
        return True

    tf.cond(condition, run, lambda: False)


def _update_replicas_if(condition, update):
    # Optimizers make replicas meet, which they cannot within a branch: they
    # meet, branch together, and part.
    def together(strategy):
        replicas = strategy.extended.call_for_each_replica
        _branch(condition, lambda: replicas(update))

    tf.distribute.get_replica_context().merge_call(together)


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


def _input_gradient_jax(function, x, direction, variables):
    values = [variable.value for variable in variables]

    def pure(x):
        # New seeds and averages must leave through the door: assigned in
        # here, they would be tracers of this differentiation.
        return run_stateless(lambda: function(x), variables, values)

    output, pull_back, new_values = jax.vjp(pure, x, has_aux=True)
    for variable, new in zip(variables, new_values, strict=True):
        variable.assign(new)
    return output, pull_back(direction)[0]


def _input_gradient_torch(function, x, direction):
    # Keras evaluates without gradients; this one is part of the loss.
    differentiable = torch.is_grad_enabled()
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        output = function(x)
        (gradient,) = torch.autograd.grad(
            output, x, direction, create_graph=differentiable
        )
    return (output if differentiable else output.detach()), gradient


def _jit(function, variables):
    # Variables go in as arguments: closed over, they would be constants.
    @jax.jit
    def pure(values, *args):
        return run_stateless(lambda: function(*args), variables, values)[0]

    def call(*args):
        return pure([_here(variable.value) for variable in variables], *args)

    return call


def _here(value):
    # What all devices hold alike, one can use alone: so a process may sample
    # without the others.
    if keras.distribution.distribution() is None:
        return value
    return value.addressable_data(0) if value.is_fully_replicated else value


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
