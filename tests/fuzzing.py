"""Damaged files for tests: good ones with a few bytes wrong."""

import contextlib

import pytest
from hypothesis import HealthCheck, settings, strategies

# A test takes `num_cases` and passes it to `fuzz`.
few_or_many = pytest.mark.parametrize(
    "num_cases", [20, pytest.param(200, marks=pytest.mark.slow)]
)


def fuzz(num_cases):
    """Returns settings of hypothesis: the same cases in every run."""
    return settings(
        max_examples=num_cases,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@contextlib.contextmanager
def refused_in_words():
    """Whatever a reader raises must be one printable line, if anything."""
    said = ""
    try:
        yield
    except ValueError as error:
        said = str(error)
    assert said.isprintable()
    assert len(said) < 3000


def mutations(good):
    """Returns a strategy of damaged copies of a good file.

    Args:
        good: Bytes, a file that its reader reads.

    Returns:
        A hypothesis strategy of bytes: one to eight bytes differ, or the end
        is missing, or a slice of the file lies somewhere a second time, or
        over what was there.

    Example:

        @few_or_many
        def test_damage_is_refused(num_cases):
            @fuzz(num_cases)
            @hypothesis.given(mutations(GOOD))
            def read(damaged): ...

            read()
    """
    return strategies.one_of(
        _flips(good), _truncations(good), _insertions(good), _copies(good)
    )


def _places(good):
    # What a header says is where a reader stumbles, so half of the damage is
    # near the beginning or, as a zip's directory, near the end.
    last = len(good) - 1
    return strategies.one_of(
        strategies.integers(0, last),
        strategies.integers(0, min(last, 128)),
        strategies.integers(max(0, last - 128), last),
    )


def _flips(good):
    def flip(changes):
        damaged = bytearray(good)
        for place, difference in changes:
            damaged[place] ^= difference
        return bytes(damaged)

    change = strategies.tuples(_places(good), strategies.integers(1, 255))
    return strategies.lists(change, min_size=1, max_size=8).map(flip)


def _truncations(good):
    return _places(good).map(lambda end: good[:end])


def _insertions(good):
    def insert(place, start, length):
        return good[:place] + good[start : start + length] + good[place:]

    return strategies.builds(
        insert, _places(good), _places(good), strategies.integers(1, 64)
    )


def _copies(good):
    def copy(place, start, length):
        piece = good[start : start + length]
        return good[:place] + piece + good[place + len(piece) :]

    return strategies.builds(
        copy, _places(good), _places(good), strategies.integers(1, 64)
    )
