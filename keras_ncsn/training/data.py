"""The data that `fit` accepts, checked before training starts."""

import copy
import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ncsn.checks import check_images, check_no_weights
from keras_ncsn.conditions import Condition
from keras_ncsn.parallel import check_batch


def checked_data(
    data: Any,
    image_shape: Sequence[int],
    value_range: tuple[float, float] | None,
    batch_size: int | None = None,
    labels: Any = None,
    condition: Condition | None = None,
) -> tuple[Any, Any]:
    """Returns the data that was passed to `fit`, after checks.

    All images of an array are checked, but only the first batch of a stream.
    Of a Python generator, the conditions of later batches are checked too.

    Args:
        data: Images as an array or tensor, or a tuple of such images and their
            conditions; or an iterable of batches: a `tf.data.Dataset`, a
            `keras.utils.PyDataset`, a PyTorch `DataLoader` or a generator.
        image_shape: Tuple, the shape of one image.
        value_range: As in `check_images`.
        batch_size: Integer, the batch size if `data` is an array. Defaults to
            `None`, one batch of all images.
        labels: The conditions of an array of images. Other data bring their
            own, so a `ValueError` is raised if both are given, and also if
            data bring weights. Defaults to `None`.
        condition: What the model is conditioned on. Defaults to `None`:
            nothing, so conditions in the data are ignored.

    Returns:
        For arrays, the images and their conditions. For a stream, `data` and
        `None`. Two kinds of streams are replaced. A generator becomes a new
        generator, which yields the checked batch too. A PyTorch `DataLoader`
        becomes a loader whose batches are tuples, if they are not yet.
    """
    if labels is not None and not hasattr(data, "shape"):
        raise ValueError(
            "`y` must be given only if `x` is one array of images. Received: "
            f"`y`, and `x` is a {type(data).__name__}. Pass the conditions "
            "either as `y` or in `x`."
        )
    if isinstance(data, tuple) and data and hasattr(data[0], "shape"):
        data, labels = _split(data)
    if hasattr(data, "shape"):
        # Keras would copy an array, which may not fit into memory twice.
        is_array = isinstance(data, np.ndarray)
        images = data if is_array else np.asarray(ops.convert_to_numpy(data))
        check_images(images, image_shape, value_range)
        labels = _check_condition(condition, labels, len(images))
        batch_size = min(batch_size or len(images), len(images))
        check_batch(batch_size)
        check_batch(len(images) % batch_size)
        return data, labels
    batch, data = _first_batch(data, condition)
    if isinstance(batch, (tuple, list)):
        batch, labels = _split(batch)
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
    _check_condition(condition, labels, len(images))
    check_batch(len(images))
    return data, None


def _check_condition(condition, labels, count):
    if condition is None:
        return None
    if labels is None:
        raise ValueError(
            f"A model with {condition.argument} must be given images and "
            f"their {condition.argument}, as in `fit(images, "
            f"{condition.argument})`. Received: images alone"
        )
    return condition.checked(ops.convert_to_numpy(labels), count)


def _split(batch):
    """Returns the images of a tuple, and their conditions or `None`."""
    images, labels, weights = (*batch, None, None)[:3]
    check_no_weights(sample_weight=weights)
    return images, labels


def _first_batch(data, condition):
    # `num_batches` is `None` if the data is endless.
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
            f"x={data}, which yields nothing"
        ) from None
    if iterator is data:
        return batch, _with_first(batch, data, condition)
    return batch, data


def _of_tuples(loader):
    # On TensorFlow and JAX, Keras accepts only tuples from a `DataLoader`.
    of_tuples = copy.copy(loader)
    # Persistent workers would still use the old function.
    of_tuples._iterator = None
    of_tuples.collate_fn = functools.partial(_collate, loader.collate_fn)
    return of_tuples


def _collate(function, samples):
    return (function(samples),)


def _with_first(batch, rest, condition):
    # Keras requires tuples from generators. `yield from` would close the
    # caller's generator together with this one.
    yield _as_tuple(batch)
    for batch in rest:
        batch = _as_tuple(batch)
        images, labels = _split(batch)
        _check_condition(condition, labels, len(images))
        yield batch


def _as_tuple(batch):
    return tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
