"""Labels of images: how they are checked, and read from folders."""

import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_ncsn.annotations import StrPath
from keras_ncsn.text import one_line

# A network has a row of its table for each class.
MAX_CLASSES = 2**16


class LabelledImages(NamedTuple):
    """Images and their labels.

    Attributes:
        images: Array of shape `(num_images, height, width, channels)`.
        labels: Int32 array of shape `(num_images,)`, the number of each
            image's class. `None` if there are no labels.
        class_names: Tuple of strings, the names of the classes. `None` without
            labels.
    """

    images: np.ndarray
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None


def checked_labels(labels: np.ndarray, source: StrPath) -> np.ndarray:
    """Returns labels as an int32 array, or raises a `ValueError`.

    Args:
        labels: Array of the labels of at least one image.
        source: Path or name of their source, for messages.

    Returns:
        An int32 array of shape `(num_images,)`, in which each number from 0 to
        the largest occurs.

    Example:

    >>> checked_labels(np.array([[1], [0]]), "digits.npz").tolist()
    [1, 0]
    """
    if labels.size == 0 or labels.shape not in (
        (labels.size,),
        (labels.size, 1),
    ):
        raise ValueError(
            "There must be one label for each image. Received: labels of shape "
            f"{labels.shape} in {one_line(source)}"
        )
    if labels.dtype.kind not in "iu":
        raise ValueError(
            f"Labels must be integers. Received: {labels.dtype} in "
            f"{one_line(source)}"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= MAX_CLASSES:
        raise ValueError(
            f"Labels must be from 0 to {MAX_CLASSES - 1:,}. Received: labels "
            f"from {low} to {high} in {one_line(source)}"
        )
    labels = labels.reshape(-1).astype("int32")
    missing = np.flatnonzero(np.bincount(labels) == 0)
    if len(missing):
        raise ValueError(
            "Each class must have an image. Received: labels up to "
            f"{high} in {one_line(source)}, but no {missing[0]}. Number the "
            "classes from 0 without gaps."
        )
    return labels


def class_folders(folder: StrPath) -> list[str]:
    """Returns the names of the classes in a folder with one folder per class.

    Args:
        folder: Path.

    Returns:
        A list of strings, the names of its folders. They are sorted as numbers
        if all are numbers. Hidden folders are left out.
    """
    names = sorted(
        path.name
        for path in pathlib.Path(folder).iterdir()
        if path.is_dir() and not path.name.startswith(".")
    )
    if not names:
        raise ValueError(
            "A folder of labelled images must have one folder for each class. "
            f"Received: {one_line(folder)}, which has none"
        )
    if not all(name.isdecimal() for name in names):
        return names
    names.sort(key=int)
    first = int(names[0])
    for number, name in enumerate(names, start=first):
        if int(name) != number:
            raise ValueError(
                "Class folders with numbers as names must have no gaps. "
                f"Received: {one_line(folder)}, which has {one_line(name)} but "
                f"no {number}"
            )
    return names


def labels_of_files(
    folder: StrPath, files: Sequence[str], names: Sequence[str]
) -> np.ndarray:
    """Returns the label of each picture, from the folder that it lies in.

    Args:
        folder: Path of the folder with one folder per class.
        files: Sequence of the paths of the pictures.
        names: Sequence of strings, from `class_folders`.

    Returns:
        An int32 array of shape `(len(files),)`.
    """
    numbers = {name: number for number, name in enumerate(names)}
    labels = []
    for file in files:
        name, *rest = pathlib.Path(os.path.relpath(file, folder)).parts
        if not rest or name not in numbers:
            raise ValueError(
                "A picture must lie in the folder of its class. Received: "
                f"{one_line(file)}"
            )
        labels.append(numbers[name])
    counts = np.bincount(labels, minlength=len(names))
    if not counts.all():
        empty = names[int(counts.argmin())]
        raise ValueError(
            "Each class must have an image. Received: the folder "
            f"{one_line(empty)} in {one_line(folder)}, which has none. Remove "
            "it, or add images."
        )
    return np.array(labels, "int32")
