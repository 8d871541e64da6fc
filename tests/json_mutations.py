"""JSON that is still JSON, with a value of another type somewhere."""

import copy
import json

from hypothesis import strategies

# No large numbers: a config may ask for a network of any size.
ODD = [
    *(None, True, "", "no", "\x1b[2J", [], [[]], {}, {"class_name": "Dense"}),
    *(-1, 0, 2, 0.5, float("nan"), float("inf"), [1, "2"], {"config": None}),
]


def json_mutations(good):
    """Returns a strategy of files like a good one, but for one to three values.

    Args:
        good: String, JSON.

    Returns:
        A hypothesis strategy of strings: values are replaced by those of
        other types, by other parts of the file, or left out.
    """
    content = json.loads(good)
    paths = list(_paths(content))
    parts = [_part(content, path) for path in paths]
    value = strategies.one_of(
        strategies.sampled_from(ODD), strategies.sampled_from(parts)
    )
    change = strategies.tuples(
        strategies.sampled_from(paths), value, strategies.integers(0, 4)
    )

    def change_all(changes):
        changed = copy.deepcopy(content)
        for path, new, kind in changes:
            _change(changed, path, copy.deepcopy(new), kind)
        return json.dumps(changed)

    return strategies.lists(change, min_size=1, max_size=3).map(change_all)


def _paths(content, path=()):
    if path:
        yield path
    items = []
    if isinstance(content, dict):
        items = list(content.items())
    elif isinstance(content, list):
        items = list(enumerate(content))[:3]
    for key, part in items:
        yield from _paths(part, (*path, key))


def _part(content, path):
    for key in path:
        content = content[key]
    return content


def _change(content, path, new, kind):
    *outer, last = path
    try:
        parent = _part(content, outer)
        if kind == 0:
            del parent[last]
        elif kind == 1 and isinstance(parent, dict):
            parent["another"] = new
        else:
            parent[last] = new
    except (LookupError, TypeError):
        return  # An earlier change took it away.
