"""Several devices, several processes."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_ncsn.annotations import Tensor
from keras_ncsn.backend.running import BACKEND

if BACKEND == "tensorflow":
    import tensorflow as tf
elif BACKEND == "jax":
    import jax


def distribute() -> int:
    """Makes all models that are built from now on train on all devices.

    Returns:
        Integer, the number of devices of all processes.
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
        # Keras could split only a `tf.data.Dataset` among processes.
        distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
        keras.distribution.set_distribution(distribution)
        return distribution.device_mesh.devices.size
    raise ValueError(
        "Training on several devices needs the backend jax or tensorflow, "
        f"because Keras {keras.__version__} does not support it on PyTorch. "
        f"Received: KERAS_BACKEND={BACKEND}"
    )


def processes() -> tuple[int, int]:
    """Returns the index of this process and the number of processes.

    Returns:
        Two integers, `(0, 1)` if there is only one process.
    """
    if BACKEND == "jax":
        return jax.process_index(), jax.process_count()
    return 0, 1


def num_shares() -> int:
    """Returns the number of parts into which local devices split a batch.

    Returns:
        Integer, 1 if batches are not split.
    """
    if BACKEND == "tensorflow":
        return tf.distribute.get_strategy().num_replicas_in_sync
    distribution = keras.distribution.distribution()
    if BACKEND == "torch" or distribution is None:
        return 1
    mesh = distribution.device_mesh
    axis = mesh.axis_names.index(distribution.batch_dim_name)
    return max(1, mesh.shape[axis] // jax.process_count())


def divides_samples() -> bool:
    """Returns whether the devices of this process share a batch of samples.

    Returns:
        Boolean, `True` on JAX with `keras.distribution`, in a single process.
        Processes sample without each other.
    """
    if BACKEND != "jax" or keras.distribution.distribution() is None:
        return False
    return jax.process_count() == 1


def full_batch(size: int) -> int:
    """Returns the smallest batch that fills each device equally.

    Args:
        size: Integer, the number of samples that are needed.

    Returns:
        Integer, at least `size`.

    Example:

    >>> full_batch(3)  # on one device
    3
    """
    shares = num_shares() if divides_samples() else 1
    return -(-size // shares) * shares


def divide(batch: Tensor) -> Tensor:
    """Returns a batch of samples, divided among the devices that share it.

    Args:
        batch: Tensor or array of shape `(batch, ...)`.

    Returns:
        A tensor of that shape. It is unchanged if there is one device, or if
        the devices cannot share it equally.
    """
    if not divides_samples() or full_batch(batch.shape[0]) != batch.shape[0]:
        return batch
    layout = keras.distribution.distribution().get_data_layout(batch.shape)
    return keras.distribution.distribute_tensor(batch, layout)


@contextlib.contextmanager
def on_this_process() -> Iterator[None]:
    """A context in which this process creates variables without the others."""
    if BACKEND != "jax":
        yield
        return
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def draw_for_batch(
    draw: Callable[[Tensor], Tensor], batch_size: Tensor
) -> Tensor:
    """Draws noise for a batch that several devices may share.

    A row depends only on its position in the whole batch. A device that trains
    on a part of the batch gets the same rows as if it had the whole batch.

    Args:
        draw: Function that returns a tensor with a given number of rows. Its
            seed must be the same on all devices.
        batch_size: Integer or scalar tensor, the number of rows on this
            device.

    Returns:
        A tensor with `batch_size` rows.

    Example:

    >>> from keras import ops
    >>> tuple(draw_for_batch(lambda rows: ops.zeros((rows, 2)), 3).shape)
    (3, 2)
    """
    # JAX and PyTorch see the whole batch here. JAX splits it itself.
    context = replica_context()
    if context is None:
        return draw(batch_size)
    first = context.replica_id_in_sync_group * batch_size
    whole = draw(context.num_replicas_in_sync * batch_size)
    return whole[first : first + batch_size]


def replica_context() -> Any:
    """Returns the replica in which this code runs, if there are several.

    Returns:
        TensorFlow's replica context, or `None` on other backends and if
        batches are not split.
    """
    if BACKEND != "tensorflow":
        return None
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None
    return context
