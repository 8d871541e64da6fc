"""Conditions: labels or vectors that say what an image shows.

A score network with a third input takes a condition for each image. A special
value means "none". From images with this value the network learns the score
without a condition.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np

from keras_ncsn.checks import is_integer
from keras_ncsn.text import one_line

NONE = "none"
# Presets store the names in their metadata, which may have 2**20 bytes.
MAX_NAMES_BYTES = 3 * 2**18


@dataclasses.dataclass(frozen=True)
class Labels:
    """Conditions that are labels, integers from 0.

    Args:
        names: Tuple of strings, the names of the classes.
        counts: Tuple of integers, how many images of each class the training
            data has. Defaults to `None`: all classes are equally frequent.

    Example:

    >>> labels = Labels(("cat", "dog"))
    >>> labels.chosen(["dog", 0, "none"], count=3).tolist()
    [1, 0, 2]
    """

    names: tuple[str, ...]
    counts: tuple[int, ...] | None = None

    argument: ClassVar[str] = "labels"
    dtype: ClassVar[str] = "int32"

    @property
    def none_value(self) -> int:
        """The label that means "none": the one after the last class."""
        return len(self.names)

    def checked(self, values: Any, count: int) -> np.ndarray:
        """Returns the labels of training images, or raises a `ValueError`.

        Args:
            values: The value to check, which must be integers of shape
                `(count,)` or `(count, 1)`, one label for each image.
            count: Integer, the number of images.

        Returns:
            An int32 array of shape `(count,)`.
        """
        values = np.asarray(values)
        if values.shape not in ((count,), (count, 1)):
            raise ValueError(
                "`labels` must hold one label for each image. Received: "
                f"labels.shape={values.shape}, and {count} images"
            )
        if values.dtype.kind not in "iu":
            raise ValueError(
                "`labels` must be integers. Received: "
                f"labels.dtype={values.dtype}"
            )
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= len(self.names):
            raise ValueError(
                f"`labels` must be from 0 to {len(self.names) - 1}, because "
                f"there are {len(self.names)} classes. Received: "
                f"min(labels)={low}, max(labels)={high}"
            )
        return values.reshape(-1).astype(self.dtype)

    def chosen(self, values: Any, count: int) -> np.ndarray:
        """Returns the labels that a caller asks for, or raises a `ValueError`.

        Args:
            values: Integer or name of a class, or a sequence of shape
                `(count,)` or `(count, 1)` with one for each image. `"none"`
                means no label.
            count: Integer, the number of images.

        Returns:
            An int32 array of shape `(count,)`.
        """
        shape = shape_of(values, self.argument)
        if shape == ():
            values, shape = [values] * count, (count,)
        if shape not in ((count,), (count, 1)):
            raise ValueError(
                "`labels` must be one label, or one for each image. Received: "
                f"labels of shape {shape} for {count} images"
            )
        if len(shape) == 2:
            values = [value for (value,) in values]
        return np.array([self.index(value) for value in values], self.dtype)

    def index(self, label: Any) -> int:
        """Returns the number of a class.

        Args:
            label: Integer, or a string: the name of a class, its number, or
                `"none"`.

        Returns:
            An integer. A `ValueError` is raised if there is no such class.
        """
        if label == NONE:
            return self.none_value
        if label in self.names:
            return self.names.index(label)
        # Where names are numbers, another number in a string names no class.
        are_numbers = all(name.isdecimal() for name in self.names)
        if isinstance(label, str) and label.isdecimal() and not are_numbers:
            label = int(label)
        if is_integer(label) and 0 <= label < len(self.names):
            return int(label)
        known = one_line(", ".join(self.names[:100]))
        raise ValueError(
            f"A label must be from 0 to {len(self.names) - 1}, or one of "
            f"{known}. Received: {one_line(repr(label))}"
        )

    def counted(self, values: np.ndarray) -> Self:
        """Returns the labels with the counts of training data.

        Args:
            values: Int32 array that `checked` returns.

        Returns:
            A `Labels` with counts. If this one has counts already, it is
            returned unchanged.
        """
        if self.counts is not None:
            return self
        counts = np.bincount(values, minlength=len(self.names))
        return dataclasses.replace(self, counts=tuple(counts.tolist()))

    def is_none(self, values: np.ndarray) -> np.ndarray:
        """Returns which labels mean "none", a boolean array."""
        return values == self.none_value

    def drawn(self, seed: int, count: int) -> np.ndarray:
        """Returns random labels, as frequent as in the training data.

        The label of image i depends only on the seed and on i.

        Args:
            seed: Integer, at least 0.
            count: Integer, the number of images.

        Returns:
            An int32 array of shape `(count,)`.
        """
        shares = np.cumsum(self.counts or np.ones(len(self.names)))
        # (seed, index) seeds the noise of an image, so a third number seeds its
        # label.
        draws = [
            np.random.Generator(np.random.PCG64((seed, index, 1))).random()
            for index in range(count)
        ]
        positions = np.array(draws) * shares[-1]
        return np.searchsorted(shares, positions, "right").astype(self.dtype)


@dataclasses.dataclass(frozen=True)
class Vectors:
    """Conditions that are vectors of floats.

    Args:
        size: Integer, their length.
    """

    size: int

    argument: ClassVar[str] = "conditions"
    dtype: ClassVar[str] = "float32"
    none_value: ClassVar[float] = float("nan")

    def checked(self, values: Any, count: int) -> np.ndarray:
        """Returns the vectors of images, or raises a `ValueError`.

        Args:
            values: The value to check, which must be numbers of shape
                `(count, size)`, one vector for each image. A vector of NaN
                means "none".
            count: Integer, the number of images.

        Returns:
            A float32 array of that shape.
        """
        values = np.asarray(values)
        if values.shape != (count, self.size):
            raise ValueError(
                "`conditions` must hold one vector for each image. Received: "
                f"conditions.shape={values.shape}, and {count} images with "
                f"{self.size} numbers each"
            )
        if values.dtype.kind not in "fiub":
            raise ValueError(
                "`conditions` must be numbers. Received: "
                f"conditions.dtype={values.dtype}"
            )
        values = values.astype(self.dtype)
        missing = np.isnan(values)
        if np.isinf(values).any() or (missing.any(1) != missing.all(1)).any():
            raise ValueError(
                "`conditions` must be finite, except that a vector of NaN "
                "means no condition. Received: "
                f"{np.isinf(values).sum()} infinite and {missing.sum()} NaN "
                "elements"
            )
        return values

    def chosen(self, values: Any, count: int) -> np.ndarray:
        """Returns the vectors that a caller asks for.

        Args:
            values: One vector, or an array with one for each image; `"none"`
                for no condition.
            count: Integer, the number of images.

        Returns:
            A float32 array of shape `(count, size)`.
        """
        if isinstance(values, str) and values == NONE:
            return np.full((count, self.size), self.none_value, self.dtype)
        if len(shape_of(values, self.argument)) == 1:
            values = np.broadcast_to(values, (count, len(values)))
        return self.checked(values, count)

    def is_none(self, values: np.ndarray) -> np.ndarray:
        """Returns which vectors mean "none", a boolean array."""
        return np.isnan(values).all(axis=-1)


def shape_of(values: Any, name: str) -> tuple[int, ...]:
    """Returns the shape of conditions, or raises a `ValueError`.

    Args:
        values: The value to check: a number, a string, an array or a sequence.
            The elements of a sequence must have equal shapes.
        name: String, `"labels"` or `"conditions"`.

    Returns:
        A tuple of integers.
    """
    try:
        return np.shape(values)
    except ValueError:
        raise ValueError(
            f"`{name}` must have elements of one shape. Received: {name}="
            f"{one_line(repr(values), 50)}"
        ) from None


# What a model is conditioned on.
Condition = Labels | Vectors


def checked_class_names(
    class_names: Any, num_classes: int | None
) -> tuple[str, ...]:
    """Returns valid names of classes, or raises a `ValueError`.

    Args:
        class_names: The value to check, which must be a sequence of different
            strings. `None` names the classes by their numbers.
        num_classes: Integer, the number of classes that the network knows, or
            `None` if it has no `num_classes`.

    Returns:
        A tuple of strings.
    """
    if class_names is None:
        if num_classes is None:
            raise ValueError(
                "A network that takes labels needs `class_names`, one for "
                "each class, if it does not state the number of classes. "
                "Received: class_names=None"
            )
        return tuple(map(str, range(num_classes)))
    is_list = isinstance(class_names, (list, tuple))
    if (
        not is_list
        or not class_names
        or not all(isinstance(name, str) and name for name in class_names)
        or len(set(class_names)) < len(class_names)
        or NONE in class_names
    ):
        raise ValueError(
            "`class_names` must be different strings, and none of them "
            f"{NONE!r}, which means no label. Received: "
            f"class_names={one_line(repr(class_names))}"
        )
    if num_classes not in (None, len(class_names)):
        raise ValueError(
            "`class_names` must name each class of the network. Received: "
            f"{len(class_names)} names, and {num_classes} classes"
        )
    if len(json.dumps(list(class_names))) > MAX_NAMES_BYTES:
        raise ValueError(
            f"`class_names` must have at most {MAX_NAMES_BYTES:,} bytes in "
            f"JSON. Received: {len(class_names)} names, which have more"
        )
    return tuple(class_names)


def checked_class_counts(
    class_counts: Any, num_classes: int
) -> tuple[int, ...] | None:
    """Returns valid numbers of images, or raises a `ValueError`.

    Args:
        class_counts: The value to check, which must hold an integer of at
            least 0 for each class, and not only zeros; or `None`.
        num_classes: Integer.

    Returns:
        A tuple of integers, or `None`.
    """
    if class_counts is None:
        return None
    counts = (
        list(class_counts)
        if isinstance(class_counts, (Sequence, np.ndarray))
        else []
    )
    if (
        len(counts) != num_classes
        or not all(is_integer(x) and 0 <= x < 2**53 for x in counts)
        or not any(counts)
    ):
        raise ValueError(
            "`class_counts` must hold the number of images of each class, at "
            "least one of them above 0. Received: "
            f"class_counts={one_line(repr(class_counts))} for {num_classes} "
            "classes"
        )
    return tuple(map(int, counts))
