"""Many devices, many processes."""

import contextlib
import os

import keras

from keras_ncsn.backend.running import BACKEND

if BACKEND == "tensorflow":
    import tensorflow as tf
elif BACKEND == "jax":
    import jax


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

    >>> from keras import ops
    >>> tuple(draw_for_batch(lambda rows: ops.zeros((rows, 2)), 3).shape)
    (3, 2)
    """
    # JAX and PyTorch see whole batches here; JAX splits them by itself.
    context = replica_context()
    if context is None:
        return draw(batch_size)
    first = context.replica_id_in_sync_group * batch_size
    whole = draw(context.num_replicas_in_sync * batch_size)
    return whole[first : first + batch_size]


def replica_context():
    """Returns the place of what runs here among several replicas.

    Returns:
        TensorFlow's replica context, `None` on other backends and where
        batches stay whole.
    """
    if BACKEND != "tensorflow":
        return None
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None
    return context
