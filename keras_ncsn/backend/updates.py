"""Changes of weights, and of what goes with them."""

from keras import ops

from keras_ncsn.backend.devices import replica_context
from keras_ncsn.backend.running import BACKEND

if BACKEND == "tensorflow":
    import tensorflow as tf
elif BACKEND == "torch":
    import torch


def update_if(condition, update, variables):
    """Runs `update`, which assigns `variables`, where `condition` holds.

    Args:
        condition: Scalar boolean tensor.
        update: Function without arguments or result.
        variables: List of the Keras variables that `update` assigns.

    Example:

    >>> import keras
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


def _from_first_replica(gradients):
    # Keras sums over the replicas, which here has been done before.
    context = replica_context()
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
