"""What `fit` takes, checked before any work is done."""

import copy
import functools

import keras
import numpy as np
from keras import ops

from keras_ncsn.checks import check_images
from keras_ncsn.parallel import check_batch


def checked_data(data, image_shape, value_range, batch_size=None):
    """Returns what was passed to `fit`, after a look at the images.

    Arrays are checked in full, streams at their first batch.

    Args:
        data: Images as an array or tensor, or an iterable of batches: a
            `tf.data.Dataset`, a `keras.utils.PyDataset`, a PyTorch
            `DataLoader` or a generator.
        image_shape: Tuple, the shape of one image.
        value_range: As in `check_images`.
        batch_size: Integer, how many images of an array are one batch.
            Defaults to `None`, all of them.

    Returns:
        `data`, or for a generator an equal one that has all its batches, and
        for a PyTorch `DataLoader` of images alone one of tuples.
    """
    if hasattr(data, "shape"):
        # Keras would copy an array, which may be larger than memory.
        is_array = isinstance(data, np.ndarray)
        images = data if is_array else np.asarray(ops.convert_to_numpy(data))
        check_images(images, image_shape, value_range)
        batch_size = min(batch_size or len(images), len(images))
        check_batch(batch_size)
        check_batch(len(images) % batch_size)
        return data
    batch, data = _first_batch(data)
    if isinstance(batch, (tuple, list)):
        batch = batch[0]
    elif hasattr(data, "collate_fn"):
        data = _of_tuples(data)
    if isinstance(batch, dict):
        raise ValueError(
            "A batch must be images, or a tuple that begins with them. "
            f"Received: a dictionary of {', '.join(map(str, batch))}. Map the "
            "data to its images first."
        )
    images = np.asarray(ops.convert_to_numpy(batch))
    check_images(images, image_shape, value_range)
    check_batch(len(images))
    return data


def _first_batch(data):
    # Of no known number (`None`) where the data has no end.
    if isinstance(data, keras.utils.PyDataset) and data.num_batches != 0:
        return data[0], data
    if isinstance(data, (tuple, list, dict)) or not hasattr(data, "__iter__"):
        raise ValueError(
            "`x` must be one array of images, or an iterable of batches. "
            f"Received: a {type(data).__name__}"
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


def _of_tuples(loader):
    # Keras takes no other batches from a `DataLoader`, but on PyTorch.
    of_tuples = copy.copy(loader)
    # Workers that persist know the old function.
    of_tuples._iterator = None
    of_tuples.collate_fn = functools.partial(_collate, loader.collate_fn)
    return of_tuples


def _collate(function, samples):
    return (function(samples),)


def _with_first(batch, rest):
    # Keras wants tuples from generators. And no `yield from`: it would close
    # the caller's generator with this one.
    yield _as_tuple(batch)
    for batch in rest:
        yield _as_tuple(batch)


def _as_tuple(batch):
    return tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
