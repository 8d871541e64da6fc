"""Batches to train on, shuffled and mirrored, and held-out images."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_ncsn.checks import check_count, check_seed


def hold_out(
    images: np.ndarray, num_validation: int, seed: int | None = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns which images to train on, and which to hold out for validation.

    They are drawn at random, because the images of a folder are often sorted
    by what they show.

    Args:
        images: Array of shape `(num_images, ...)`.
        num_validation: Integer, how many images to hold out, fewer than there
            are.
        seed: Integer, at least 0. Defaults to `0`.

    Returns:
        Two sorted arrays of indices: training images and held-out images.

    Example:

    >>> training, validation = hold_out(np.zeros((5, 8, 8, 1)), 2)
    >>> training.tolist(), validation.tolist()
    ([0, 1, 3], [2, 4])
    """
    check_count(num_validation=num_validation)
    if num_validation >= len(images):
        raise ValueError(
            "`num_validation` must be less than the number of images. "
            f"Received: num_validation={num_validation}, {len(images)} images"
        )
    order = np.random.default_rng(check_seed(seed)).permutation(len(images))
    return np.sort(order[num_validation:]), np.sort(order[:num_validation])


def shuffled_batches(
    images: np.ndarray,
    batch_size: int,
    seed: int | None,
    flip: bool = False,
    start: int = 0,
    indices: npt.ArrayLike | None = None,
    labels: np.ndarray | None = None,
) -> Iterator[Any]:
    """Returns endless batches, in which each epoch shows an image once.

    The order depends only on the seed and the epoch. Images at the end of an
    epoch that do not fill a batch are left out.

    Args:
        images: Array of shape `(num_images, ...)`.
        batch_size: Integer, at most the number of images.
        seed: Integer, at least 0.
        flip: Boolean, whether to mirror half of the images left to right,
            drawn at random in each epoch. The paper does so for CIFAR-10 and
            CelebA. Defaults to `False`.
        start: Integer, how many batches to skip. They are not read, and the
            batches that follow are the same as without `start`. Defaults to
            `0`.
        indices: Array of integers, the images to use. Defaults to `None`, all.
        labels: Array of shape `(num_images, ...)`, the labels of the images.
            Defaults to `None`, none.

    Returns:
        A generator of arrays of shape `(batch_size, ...)`, or with `labels` of
        tuples of such images and their labels.

    Example:

    >>> batches = shuffled_batches(np.arange(4), batch_size=2, seed=0)
    >>> sorted([*next(batches).tolist(), *next(batches).tolist()])
    [0, 1, 2, 3]
    """
    check_count(batch_size=batch_size)
    check_count(0, start=start)
    num_images = len(images)
    rows = None
    if indices is not None:
        rows = _checked_indices(indices, num_images)
        num_images = len(rows)
    if batch_size > num_images:
        raise ValueError(
            "`batch_size` must be at most the number of images. Received: "
            f"batch_size={batch_size}, {num_images} images"
        )
    seed = check_seed(seed)
    chosen = _chosen(num_images, batch_size, seed, start, rows)
    return _batches(images, labels, flip, chosen)


def _checked_indices(indices, num_images):
    indices = np.asarray(indices)
    if (
        indices.ndim != 1
        or indices.dtype.kind not in "iu"
        or ((indices < 0) | (indices >= num_images)).any()
    ):
        raise ValueError(
            "`indices` must be a list of integers, at least 0 and less than "
            f"the number of images. Received: indices={indices}, {num_images} "
            "images"
        )
    return indices


def _batches(images, labels, flip, chosen):
    for rows, coins in chosen:
        batch = images[rows]
        if flip:
            heads = coins < 0.5
            batch[heads] = batch[heads, :, ::-1]
        yield batch if labels is None else (batch, labels[rows])


def _chosen(num_images, batch_size, seed, start, indices):
    """Yields the images of each batch, and a random number for each."""
    first_epoch, num_passed = divmod(start, num_images // batch_size)
    for epoch in itertools.count(first_epoch):
        order = np.random.default_rng((seed, epoch)).permutation(num_images)
        if indices is not None:
            order = indices[order]
        # From a generator of their own, so that flips do not change the order.
        coins = np.random.default_rng((seed, epoch, 1)).random(num_images)
        begin, end = num_passed * batch_size, num_images - batch_size + 1
        for first in range(begin, end, batch_size):
            rows = slice(first, first + batch_size)
            yield order[rows], coins[rows]
        num_passed = 0
