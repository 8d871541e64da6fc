"""Checks of arguments, before any work is done."""

import math
import random
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt


def check_images(
    images: np.ndarray,
    image_shape: Sequence[int],
    value_range: Sequence[float] | None = (0.0, 1.0),
    name: str = "images",
) -> None:
    """Raises a `ValueError` unless images fit the network.

    Args:
        images: NumPy array.
        image_shape: Tuple, the shape of one image.
        value_range: Pair of floats, inclusive, or `None` to allow any finite
            numbers. uint8 images always pass. Defaults to `(0.0, 1.0)`.
        name: String, the name of the argument. Defaults to `"images"`.
    """
    image_shape = tuple(image_shape)
    if images.ndim != len(image_shape) + 1 or images.shape[1:] != image_shape:
        sides = ", ".join(str(side) for side in image_shape)
        raise ValueError(
            f"`{name}` must have the shape (batch, {sides}) that the network "
            f"was built for, channels last. Received: {name}.shape="
            f"{images.shape}"
        )
    if images.size == 0:
        raise ValueError(
            f"`{name}` must hold at least one image. Received: {name}.shape="
            f"{images.shape}"
        )
    if images.dtype == np.uint8 and value_range is not None:
        return
    if images.dtype.kind not in "fiub":
        raise ValueError(
            f"`{name}` must be floats, or uint8. Received: {name}.dtype="
            f"{images.dtype}"
        )
    low, high = float(images.min()), float(images.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(
            f"`{name}` must be finite numbers. Received: min({name})={low}, "
            f"max({name})={high}"
        )
    if value_range is None:
        return
    if low < value_range[0] or high > value_range[1]:
        raise ValueError(
            f"`{name}` must lie in [{value_range[0]:g}, {value_range[1]:g}], "
            f"or be uint8. Received: min({name})={low:g}, "
            f"max({name})={high:g}. Divide images in [0, 255] by 255, or "
            "pass them as uint8."
        )


def check_known_mask(
    known_mask: npt.ArrayLike,
    images_shape: Sequence[int],
    name: str = "known_mask",
) -> np.ndarray:
    """Checks a mask of known pixels, and returns it as booleans.

    Args:
        known_mask: Array of booleans or of zeros and ones, of shape
            `(height, width)`, `(height, width, 1)`, `(batch, height, width, 1)`
            or the shape of the images. `True` (1) where a pixel is known.
        images_shape: Tuple `(batch, height, width, channels)`.
        name: String, the name of the argument. Defaults to `"known_mask"`.

    Returns:
        A boolean array that broadcasts to the images.

    Example:

    >>> check_known_mask(np.ones((8, 8)), (2, 8, 8, 3)).shape
    (1, 8, 8, 1)
    """
    known_mask = np.asarray(known_mask)
    shape = known_mask.shape
    if known_mask.dtype != bool:
        wrong = known_mask[~((known_mask == 0) | (known_mask == 1))]
        if wrong.size:
            raise ValueError(
                f"`{name}` must hold True or 1 where a pixel is known and "
                "False or 0 where it is to be filled. Received: the value "
                f"{wrong.flat[0]}"
            )
        known_mask = known_mask.astype(bool)
    if len(images_shape) == 4 and known_mask.ndim == 2:
        known_mask = known_mask[..., None]
    if known_mask.ndim == len(images_shape) - 1:
        known_mask = known_mask[None]
    fits = known_mask.ndim == len(images_shape) and all(
        side in (1, full)
        for side, full in zip(known_mask.shape, images_shape, strict=True)
    )
    if not fits:
        pixels = " by ".join(str(side) for side in images_shape[1:3])
        raise ValueError(
            f"`{name}` must broadcast to the shape of `images`. Received: "
            f"{name}.shape={shape}, images.shape={tuple(images_shape)}. "
            f"Pass a mask of {pixels} pixels."
        )
    return known_mask


def check_count(least: int = 1, most: int | None = None, **counts: Any) -> None:
    """Raises a `ValueError` unless each argument is an integer in a range.

    Args:
        least: Integer, the smallest that is allowed. Defaults to `1`.
        most: Integer, the largest. Defaults to `None`, any.
        **counts: The arguments by name.
    """
    for name, count in counts.items():
        if not is_integer(count) or count < least:
            raise ValueError(
                f"`{name}` must be an integer of at least {least}. Received: "
                f"{name}={count!r}"
            )
        if most is not None and count > most:
            raise ValueError(
                f"`{name}` must be an integer of at most {most:,}. Received: "
                f"{name}={count!r}"
            )


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Raises a `ValueError` unless `value` is one of `choices`.

    Args:
        name: String, the name of the argument.
        value: The received value, of any type.
        choices: Iterable of strings, or of booleans.
    """
    # In a list, not in a dictionary: the value may have no hash.
    if value not in list(choices):
        allowed = ", ".join(map(str, choices))
        raise ValueError(
            f"`{name}` must be one of {allowed}. Received: {name}={value!r}"
        )


def check_finite(**numbers: Any) -> None:
    """Raises a `ValueError` unless each argument is a finite number.

    Args:
        **numbers: The arguments by name.
    """
    for name, number in numbers.items():
        if not _is_number(number):
            raise ValueError(
                f"`{name}` must be a finite number. Received: {name}={number}"
            )


def check_above_zero(**numbers: Any) -> None:
    """Raises a `ValueError` unless each argument is a finite number above 0.

    Args:
        **numbers: The arguments by name.
    """
    for name, number in numbers.items():
        if not _is_number(number) or number <= 0:
            raise ValueError(
                f"`{name}` must be a number above 0. Received: {name}={number}"
            )


def check_at_least(least: float, **numbers: Any) -> None:
    """Raises a `ValueError` unless each argument is finite and large enough.

    Args:
        least: Float, the smallest allowed value.
        **numbers: The arguments by name.
    """
    for name, number in numbers.items():
        if not _is_number(number) or number < least:
            raise ValueError(
                f"`{name}` must be at least {least}. Received: {name}={number}"
            )


def check_levels(**pairs: Any) -> None:
    """Raises a `ValueError` unless each argument is a range of noise levels.

    Args:
        **pairs: The arguments by name.
    """
    for name, pair in pairs.items():
        is_pair = isinstance(pair, (tuple, list)) and len(pair) == 2
        if (
            not is_pair
            or not all(map(_is_number, pair))
            or not 0 <= pair[0] < pair[1]
        ):
            raise ValueError(
                f"`{name}` must be a pair of noise levels, the smaller first. "
                f"Received: {name}={pair}"
            )


def check_rate(**rates: Any) -> None:
    """Raises a `ValueError` unless each argument is in [0, 1).

    Args:
        **rates: The arguments by name.
    """
    for name, rate in rates.items():
        if not _is_number(rate) or not 0 <= rate < 1:
            raise ValueError(
                f"`{name}` must be at least 0 and below 1. Received: "
                f"{name}={rate}"
            )


def check_share(**shares: Any) -> None:
    """Raises a `ValueError` unless each argument is in [0, 1].

    Args:
        **shares: The arguments by name.
    """
    for name, share in shares.items():
        if not _is_number(share) or not 0 <= share <= 1:
            raise ValueError(
                f"`{name}` must be from 0 to 1. Received: {name}={share}"
            )


def is_integer(value: object) -> bool:
    """Returns whether a value is an integer, Python's or NumPy's."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_number(value):
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        # An integer too large for a float.
        return False


def check_seed(seed: int | None) -> int:
    """Checks a seed and returns it, or a random one for `None`.

    Args:
        seed: Integer, at least 0, or `None`.

    Returns:
        An integer.
    """
    if seed is None:
        # From Python's generator, which `keras.utils.set_random_seed` seeds.
        return random.getrandbits(63)
    if not is_integer(seed) or seed < 0:
        raise ValueError(
            f"`seed` must be an integer of at least 0. Received: seed={seed!r}"
        )
    return int(seed)


def check_momentum(ema_momentum: Any) -> None:
    """Raises a `ValueError` unless a momentum suits a moving average.

    Args:
        ema_momentum: Float, or `None` for no average.
    """
    if ema_momentum is not None and not (
        _is_number(ema_momentum) and 0 < ema_momentum < 1
    ):
        raise ValueError(
            "`ema_momentum` must be above 0 and below 1, or None for no "
            f"average. Received: ema_momentum={ema_momentum}"
        )


def check_value_range(value_range: Any) -> None:
    """Raises a `ValueError` unless a value range of images is valid.

    Args:
        value_range: Pair of floats, or `None` for no range.
    """
    if value_range is None:
        return
    if (
        not isinstance(value_range, (tuple, list))
        or len(value_range) != 2
        or not all(map(_is_number, value_range))
        or not value_range[0] < value_range[1]
    ):
        raise ValueError(
            "`value_range` must be a pair of numbers, the smaller first, or "
            "None. "
            f"Received: value_range={value_range}"
        )


def check_no_weights(**weights: Any) -> None:
    """Raises a `ValueError` if images come with weights.

    Args:
        **weights: The arguments by name, `None` where not given.
    """
    for name, weight in weights.items():
        if weight is not None:
            raise ValueError(
                f"Images have no weights. Received: {name}. Leave it out, or "
                "show some images more often."
            )


def check_ladder_ends(sigma_max: float, sigma_min: float) -> None:
    """Raises a `ValueError` unless noise levels can lie between two ends.

    Args:
        sigma_max: Float, the largest noise level.
        sigma_min: Float, the smallest.
    """
    if not 0 < sigma_min < sigma_max < float("inf"):
        raise ValueError(
            "Noise levels must satisfy 0 < `sigma_min` < `sigma_max`. "
            f"Received: sigma_min={sigma_min}, sigma_max={sigma_max}. "
            "Swap the two if they are in the wrong order."
        )
