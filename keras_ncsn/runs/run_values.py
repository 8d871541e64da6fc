"""What a run file may hold: a stranger may have written it."""

import json
from typing import Any

from keras_ncsn.runs import recipes


def checked(run: Any, writing: dict[str, Any]) -> dict[str, Any]:
    """Returns what a run file holds, with what older ones did not have.

    Args:
        run: What should be a dictionary.
        writing: Dictionary, what a run writes beside its result, where the
            file does not say.

    Returns:
        A dictionary. A `ValueError` or `LookupError` says what is wrong.
    """
    if not isinstance(run, dict):
        raise ValueError("it holds something else")
    for name, is_one in _KINDS.items():
        if not is_one(run.get(name)):
            raise ValueError(f"{name}={run.get(name)!r}")
    unknown = sorted(run.keys() - _KINDS.keys())
    if unknown:
        raise ValueError(f"{', '.join(unknown)}, which no run has")
    recipe = recipes.restore(
        run["recipe_name"], run["recipe"], run["from_preset"]
    )
    # As from JSON, with lists for tuples.
    recipe = json.loads(json.dumps(recipe.values()))
    began = run.get("writing") or {}
    _check_writing(began, writing)
    return run | {"recipe": recipe, "writing": writing | began}


def _check_writing(began, known):
    for name, value in began.items():
        if name not in known:
            raise ValueError(f"writing={name}, which no run has")
        least = 1 if name in {"log_every", "checkpoint_every"} else 0
        kind = bool if name == "tensorboard" else int
        if type(value) is not kind or not least <= value < 2**31:
            raise ValueError(f"{name}={value!r}")


def _is_seed(value):
    return type(value) is int and 0 <= value < 2**32


def _are_steps(value):
    # Each goes into the command of a card.
    return (
        isinstance(value, list)
        and len(value) <= 100
        and all(type(x) is int and 0 < x < 2**31 for x in value)
    )


def _is_fingerprint(value):
    # What is known of the images, see `runs`. Old runs do not say.
    if value is None:
        return True
    return isinstance(value, dict) and all(
        isinstance(part, (str, int)) or _is_shape(part)
        for part in value.values()
    )


def _is_shape(value):
    return isinstance(value, list) and all(
        isinstance(side, int) for side in value
    )


def _is_string(value):
    # A path at most. It goes into the metadata of presets and into cards.
    return isinstance(value, str) and len(value) <= 4096


_KINDS = {
    "data": _is_string,
    "recipe_name": _is_string,
    "recipe": lambda value: isinstance(value, dict),
    "from_preset": lambda value: value is None or _is_string(value),
    "seed": _is_seed,
    # Whether a run that starts from a preset needs labels. Old runs do not say.
    "conditional": lambda value: value is None or isinstance(value, bool),
    # What `steps` were before the run became longer. Old runs do not say.
    "earlier_steps": lambda value: value is None or _are_steps(value),
    "images": _is_fingerprint,
    "writing": lambda value: value is None or isinstance(value, dict),
}
