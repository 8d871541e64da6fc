"""Training on many devices: each takes its share of every batch."""

from collections.abc import Iterable, Iterator
from typing import Any

from keras_ncsn import backend


def data_parallel() -> int:
    """Makes models that are built afterwards train on all devices at once.

    Call it before any model is built. `fit` then splits each batch among the
    devices. The noise is the same as on one device, so the loss is the same
    too, to float tolerance. Batch sizes must be multiples of the number of
    devices.

    - JAX: all devices of this process, which also share the images that
      `generate` and `inpaint` draw. To use several processes, set the
      environment variables `KERAS_DISTRIBUTION_JOB_ADDRESSES`,
      `KERAS_DISTRIBUTION_NUM_PROCESSES` and `KERAS_DISTRIBUTION_PROCESS_ID`,
      or call `keras.distribution.initialize` first. Each process then trains
      on its own part of every batch, see `process_share`. All processes must
      call `fit`, `evaluate` and `predict`; `generate`, `inpaint` and
      `save_to_preset` may be called in only one of them, and use one device.
    - TensorFlow: all GPUs, or all logical CPUs if there is no GPU, through
      `tf.distribute`. There, Keras does not run several steps per execution,
      and `train_on_batch` gives every device the whole batch.
    - PyTorch: raises a `ValueError`, because Keras has no data parallelism
      for it.

    Returns:
        Integer, the number of devices, in all processes together.

    Example:

    ```python
    num_devices = keras_ncsn.parallel.data_parallel()
    model = keras_ncsn.NCSNModel.from_preset("mnist")
    model.compile()
    batches = keras_ncsn.datasets.shuffled_batches(
        images, batch_size=16 * num_devices, seed=0
    )
    model.fit(
        keras_ncsn.parallel.process_share(batches), steps_per_epoch=1000
    )
    ```
    """
    return backend.distribute()


def is_main_process() -> bool:
    """Returns whether this process is the one that writes files.

    Returns:
        Boolean, `True` if there is only one process.

    Example:

    >>> is_main_process()
    True
    """
    return backend.processes()[0] == 0


def process_share(batches: Iterable[Any]) -> Iterator[Any]:
    """Yields the part of each batch that this process trains on.

    All processes must be given the same batches.

    Args:
        batches: Iterable of arrays of shape `(batch, ...)`, or of tuples of
            such arrays.

    Yields:
        Arrays of shape `(batch / number of processes, ...)`, or tuples of
        such arrays.

    Example:

    >>> [batch.tolist() for batch in process_share([np.arange(3)])]
    [[0, 1, 2]]
    """
    index, count = backend.processes()
    for batch in batches:
        arrays = batch if isinstance(batch, tuple) else (batch,)
        _check(len(arrays[0]), count, "processes")
        size = len(arrays[0]) // count
        rows = slice(index * size, (index + 1) * size)
        parts = tuple(array[rows] for array in arrays)
        yield parts if isinstance(batch, tuple) else parts[0]


def check_batch(size: int) -> None:
    """Raises a `ValueError` for a batch that the devices cannot share.

    Args:
        size: Integer, how many images are in the batch.
    """
    _check(size, backend.num_shares(), "devices")


def _check(size, count, what):
    if size % count:
        raise ValueError(
            f"Batches must be multiples of the number of {what}, because each "
            f"takes an equal share. Received: a batch of {size} for {count} "
            f"{what}. Choose another batch size, or drop a last batch that is "
            "smaller."
        )
