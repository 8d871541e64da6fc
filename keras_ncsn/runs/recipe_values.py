"""What kinds of values the settings of a recipe have."""

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, NamedTuple

from keras_ncsn.samplers.sampler import MAX_STEPS


class Kind(NamedTuple):
    """A kind of values.

    Attributes:
        includes: Function of a value, whether it is of this kind.
        words: String, what an error says the value must be.
        choices: Tuple of strings, all the values, where they can be listed.
    """

    includes: Callable[[Any], bool]
    words: str
    choices: tuple[str, ...] = ()


def integer(least: int, most: int) -> Kind:
    """Returns the kind of integers in a range, both ends included."""

    def includes(value):
        return _is_integer(value) and least <= value <= most

    return Kind(includes, f"an integer from {least} to {most:,}")


def number(
    least: float = -math.inf, below: float = math.inf, above: bool = False
) -> Kind:
    """Returns the kind of finite numbers in a range.

    Args:
        least: Float, the smallest. Defaults to none.
        below: Float, above the largest. Defaults to none.
        above: Boolean, whether `least` itself is excluded. Defaults to
            `False`.

    Returns:
        A `Kind`.

    Example:

    >>> rate = number(0, below=1)
    >>> rate.words, rate.includes(0.5), rate.includes(1)
    ('a finite number of at least 0 and below 1', True, False)
    """

    def includes(value):
        return (
            _is_number(value)
            and (least < value if above else least <= value)
            and value < below
        )

    words = "a finite number"
    if least > -math.inf:
        words += f" {'above' if above else 'of at least'} {least}"
    if below < math.inf:
        words += f" and below {below}"
    return Kind(includes, words)


def choice(*choices: str) -> Kind:
    """Returns the kind of strings that are one of some choices."""

    def includes(value):
        return isinstance(value, str) and value in choices

    return Kind(includes, f"one of {', '.join(choices)}", choices)


def integers(most: int) -> Kind:
    """Returns the kind of lists and tuples of few integers, none too large."""

    def includes(value):
        return (
            isinstance(value, (list, tuple))
            and len(value) <= most
            and all(map(_is_integer, value))
            and all(abs(x) <= 2**16 for x in value)
        )

    return Kind(includes, f"a list of at most {most} integers")


def _is_integer(value):
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value):
    # Training computes in float32, which holds numbers of this size.
    return (
        isinstance(value, Real)
        and not isinstance(value, bool)
        and -1e30 < value < 1e30
    )


FLAG = Kind(lambda value: isinstance(value, bool), "True or False")
SIZE = integer(1, 2**16)
# Optimizers count in 32 bits.
COUNT = integer(1, 2**31 - 1)
# A table has one row for each level or step.
ROWS = integer(1, MAX_STEPS)
AT_LEAST_0 = number(0)
ABOVE_0 = number(0, above=True)
RATE = number(0, below=1)
