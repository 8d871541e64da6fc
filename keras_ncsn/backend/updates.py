"""Updates of weights and of other state, also under a condition."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_ncsn.annotations import Tensor
from keras_ncsn.backend import adam
from keras_ncsn.backend.devices import replica_context
from keras_ncsn.backend.running import BACKEND

if BACKEND == "tensorflow":
    import tensorflow as tf
elif BACKEND == "torch":
    import torch


def update_if(
    condition: Tensor, update: Callable[[], object], variables: Sequence[Any]
) -> None:
    """Runs `update`, which assigns `variables`, if `condition` holds.

    Args:
        condition: Scalar boolean tensor.
        update: Function without arguments. Its result is ignored.
        variables: Sequence of the Keras variables that `update` assigns.

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
        # XLA fuses the selection into the update. A branch would copy the
        # variables.
        before = [variable.value for variable in variables]
        update()
        keep_if(condition, variables, before)
    elif bool(condition):
        with torch.no_grad():
            update()


def keep_if(
    condition: Tensor, variables: Sequence[Any], before: Sequence[Tensor]
) -> None:
    """Puts the old values back into variables if `condition` does not hold.

    Args:
        condition: Scalar boolean tensor.
        variables: Sequence of Keras variables.
        before: Sequence of tensors, their old values.
    """
    for variable, old in zip(variables, before, strict=True):
        variable.assign(ops.where(condition, variable.value, old))


def all_finite(gradients: Sequence[Tensor | None]) -> Tensor:
    """Returns whether gradients are finite, a scalar boolean tensor.

    Args:
        gradients: Sequence of tensors, or `None`.

    Example:

    >>> bool(all_finite([ops.array([1.0, float("inf")]), None]))
    False
    """
    present = [
        ops.cast(gradient, "float32")
        for gradient in gradients
        if gradient is not None
    ]
    if BACKEND == "tensorflow":
        # One operation for each, of which there may be hundreds to trace.
        return tf.math.is_finite(tf.add_n([tf.nn.l2_loss(x) for x in present]))
    return ops.isfinite(sum(ops.sum(ops.square(x)) for x in present))


def apply_gradients(
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[Tensor],
    variables: Sequence[Any],
) -> None:
    """Takes one step of a built optimizer, in eager and in compiled code.

    Args:
        optimizer: A built Keras optimizer.
        gradients: Sequence of tensors, the gradients of the scaled loss.
        variables: Sequence of Keras variables shaped like `gradients`.
    """
    if BACKEND == "tensorflow":
        gradients = _from_first_replica(gradients)
    if BACKEND != "jax":
        with adam.fused(optimizer):
            optimizer.apply(gradients, variables)
        return
    # A loss-scaling optimizer branches, and on JAX a branch cannot assign
    # variables. The stateless form works for all optimizers.
    new_values, new_state = optimizer.stateless_apply(
        [variable.value for variable in optimizer.variables],
        gradients,
        [variable.value for variable in variables],
    )
    # In the order of Keras: first the weights, then the optimizer.
    for variable, value in zip(variables, new_values, strict=True):
        variable.assign(value)
    for variable, value in zip(optimizer.variables, new_state, strict=True):
        variable.assign(value)


def _from_first_replica(gradients):
    # Keras sums gradients over the replicas, but they are summed already. So
    # only the first replica passes them on, and the others pass zeros.
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
    # Optimizers synchronize the replicas, which is impossible within a branch.
    # So the replicas first synchronize, and then take the branch together.
    def together(strategy):
        replicas = strategy.extended.call_for_each_replica
        _branch(condition, lambda: replicas(update))

    tf.distribute.get_replica_context().merge_call(together)
