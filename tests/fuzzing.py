"""Damaged files for tests: good ones with a few bytes wrong."""

from hypothesis import strategies


def mutations(good):
    """Returns a strategy of damaged copies of a good file.

    Args:
        good: Bytes, a file that its reader reads.

    Returns:
        A hypothesis strategy of bytes: one to eight bytes differ, or the end
        is missing, or a slice of the file lies somewhere a second time, or
        over what was there.

    Example:

        @hypothesis.settings(max_examples=50, derandomize=True, deadline=None)
        @hypothesis.given(mutations(GOOD))
        def test_damage_is_refused(damaged): ...
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
