"""What `fit` takes, checked before any work is done."""

import keras
import numpy as np
from keras import ops

from keras_ncsn.checks import check_images


def checked_data(data, image_shape, value_range):
    """Returns what was passed to `fit`, after a look at the images.

    Arrays are checked in full, streams at their first batch.

    Args:
        data: Images as an array or tensor, or an iterable of batches: a
            `tf.data.Dataset`, a `keras.utils.PyDataset`, a PyTorch
            `DataLoader` or a generator.
        image_shape: Tuple, the shape of one image.
        value_range: As in `check_images`.

    Returns:
        `data`, or for a generator an equal one that has all its batches.
    """
    if data is None or hasattr(data, "shape"):
        if data is not None:
            images = np.asarray(ops.convert_to_numpy(data))
            check_images(images, image_shape, value_range)
        return data
    batch, data = _first_batch(data)
    if isinstance(batch, (tuple, list)):
        batch = batch[0]
    images = np.asarray(ops.convert_to_numpy(batch))
    check_images(images, image_shape, value_range)
    return data


def _first_batch(data):
    if isinstance(data, keras.utils.PyDataset):
        return data[0], data
    if isinstance(data, (tuple, list)):
        raise ValueError(
            "`x` must be one array of images, or an iterable of batches. "
            f"Received: a {type(data).__name__} of length {len(data)}"
        )
    iterator = iter(data)
    try:
        batch = next(iterator)
    except StopIteration:
        raise ValueError(
            "`x` must yield at least one batch of images. Received: "
            f"x={data}, which yields none"
        ) from None
    if iterator is data:
        return batch, _with_first(batch, data)
    return batch, data


def _with_first(batch, rest):
    # Keras wants tuples from generators. And no `yield from`: it would close
    # the caller's generator with this one.
    yield batch if isinstance(batch, tuple) else (batch,)
    for batch in rest:
        yield batch if isinstance(batch, tuple) else (batch,)
