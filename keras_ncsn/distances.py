"""How far apart the images of a data set are. Backend-free."""

import math

import numpy as np

from keras_ncsn.checks import check_seed
from keras_ncsn.images import to_floats

MAX_CHUNK = 1024


def largest_distance(images, num_images=None, seed=0):
    """Returns the largest Euclidean distance between two images.

    It is what the largest noise level should be: then a sample can walk from
    any image to any other at that level. Pairs that the triangle inequality
    rules out are not looked at, which for pictures leaves few. A sample of
    the images has a distance as large or smaller.

    Args:
        images: Array of shape `(num_images, ...)`, at least two; uint8 is
            divided by 255, as the model does.
        num_images: Integer, at least 2, how many images to sample. Defaults
            to `None`, all.
        seed: Integer, at least 0, of the sample. Defaults to `0`.

    Returns:
        A float.

    Example:

    >>> largest_distance(np.array([[0.0, 0.0], [3.0, 4.0], [1.0, 1.0]]))
    5.0

    Reference:

    - [Song and Ermon, 2020](https://arxiv.org/abs/2006.09011), Technique 1.
    """
    images = np.asarray(images)
    _check_images(images)
    if num_images is not None:
        _check_at_least_two(num_images=num_images)
        rng = np.random.default_rng(check_seed(seed))
        num_images = min(num_images, len(images))
        # Sorted, which reads a file on disk in order.
        rows = rng.choice(len(images), num_images, replace=False)
        images = images[np.sort(rows)]
    first, second = _farthest_pair(images)
    difference = _rows(images, [first]) - _rows(images, [second])
    return float(np.linalg.norm(difference))


def _farthest_pair(images):
    # In order of distance from the mean: two images are at most as far apart
    # as both are from there together, so that the first few chunks mostly do.
    # A chunk is some hundred megabytes, however large the images.
    dimension = math.prod(images.shape[1:])
    size = min(MAX_CHUNK, max(1, 2**24 // dimension))
    starts = range(0, len(images), size)
    chunks = [slice(start, start + size) for start in starts]
    mean = sum(_rows(images, chunk).sum(axis=0) for chunk in chunks)
    mean = mean / len(images)
    radii = np.concatenate(
        [
            np.linalg.norm(_rows(images, chunk) - mean, axis=1)
            for chunk in chunks
        ]
    )
    order = np.argsort(-radii, kind="stable")
    best, pair = 0.0, (0, 0)
    for start in starts:
        chunk = order[start : start + size]
        for other_start in range(0, start + 1, size):
            other = order[other_start : other_start + size]
            if radii[chunk[0]] + radii[other[0]] <= best:
                break
            distance, row, column = _farthest(
                _rows(images, chunk) - mean, _rows(images, other) - mean
            )
            if distance > best:
                best, pair = distance, (chunk[row], other[column])
    return pair


def _farthest(first, second):
    # Products in float32 find the pair, twice as fast; what is returned of it
    # is computed anew.
    first, second = first.astype("float32"), second.astype("float32")
    squares = (
        np.square(first).sum(axis=1)[:, None]
        + np.square(second).sum(axis=1)
        - 2.0 * first @ second.T
    )
    row, column = np.unravel_index(np.argmax(squares), squares.shape)
    return math.sqrt(max(0.0, float(squares[row, column]))), row, column


def _rows(images, index):
    rows = to_floats(images[index]).astype("float64")
    return rows.reshape(len(rows), -1)


def _check_images(images):
    if images.ndim < 2 or len(images) < 2 or images.size == 0:
        raise ValueError(
            "`images` must be at least two, of shape (num_images, ...). "
            f"Received: images.shape={images.shape}"
        )
    if images.dtype == np.uint8:
        return
    if images.dtype.kind not in "fiub" or not np.isfinite(images).all():
        raise ValueError(
            "`images` must be finite numbers. Received: an array of "
            f"{images.dtype} with a value that is none"
        )


def _check_at_least_two(**counts):
    for name, count in counts.items():
        if not isinstance(count, (int, np.integer)) or count < 2:
            raise ValueError(
                f"`{name}` must be an integer of at least 2, because a "
                f"distance is between two. Received: {name}={count!r}"
            )
