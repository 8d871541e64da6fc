"""The metadata of a run's presets, and the command that repeats the run."""

import json
import os
import pathlib
import shlex
from typing import Any

from keras_ncsn import datasets
from keras_ncsn.hub import addresses
from keras_ncsn.presets import format, sources
from keras_ncsn.presets.terms import common_terms
from keras_ncsn.runs import recipes


def metadata(
    run: dict[str, Any], began_from: str | os.PathLike[str] | None = None
) -> dict[str, Any]:
    """Returns the metadata of the presets of a run.

    Presets may be published, so they name only the last part of a path.

    Args:
        run: Dictionary, from `describe`.
        began_from: String or path, the preset whose terms they keep. Defaults
            to `None`, the preset that the run names, if any.

    Returns:
        A dictionary.

    Example:

    >>> from keras_ncsn.runs.run_file import describe
    >>> metadata(describe("celeb_a", "unet-celeba"))["license_name"]
    'celeba-non-commercial-research-only'
    """
    # The terms do not depend on the version of the data set.
    known = [datasets.TERMS.get(run["data"].split("/")[0], {})]
    began_from = began_from or run["from_preset"]
    if began_from is not None:
        folder = sources.find(began_from, load_weights=False)
        known.append(format.read_metadata(folder))
    return {
        "data": _public_data(run["data"]),
        "recipe": run["recipe_name"],
        "batch_size": run["recipe"]["batch_size"],
        "command": command(run),
        **common_terms(*known),
    }


def command(run: dict[str, Any]) -> str:
    """Returns the command that repeats a run, for its card.

    Args:
        run: Dictionary, from `describe`.

    Returns:
        A string.

    Example:

    >>> from keras_ncsn.runs.run_file import describe
    >>> command(describe("mnist", "unet-mnist", {"steps": 9}, seed=1))
    'keras-ncsn train mnist OUTPUT --recipe unet-mnist --seed 1 --steps 9'
    """
    start = ["keras-ncsn", "train", _public_data(run["data"]), "OUTPUT"]
    all_steps: list[int] = run.get("earlier_steps") or []
    all_steps = [*all_steps, run["recipe"]["steps"]]
    steps, later = all_steps[0], all_steps[1:]
    words = [*start, "--recipe", run["recipe_name"]]
    if run["from_preset"] is not None:
        words += ["--from-preset", _public_preset(run["from_preset"])]
    words += ["--seed", str(run["seed"])]
    usual = json.loads(json.dumps(_usual(run).values()))
    for name, value in (run["recipe"] | {"steps": steps}).items():
        if value is None or value == usual.get(name):
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list):
            words += [f"--{flag}", ",".join(map(str, value))]
        else:
            words += [f"--{flag}", str(value)]
    longer = [[*start, "--resume", "--steps", str(more)] for more in later]
    return " && ".join(map(shlex.join, [words, *longer]))


def _usual(run):
    """Returns the recipe of a run without options."""
    name, preset = run["recipe_name"], run["from_preset"]
    if preset is None:
        return recipes.find(name)
    return recipes.find_for_preset(name, preset)


def _public_data(data):
    """Returns the name of a data set, or the last part of a path."""
    path = pathlib.Path(data)
    is_path = path.exists() or path.is_absolute()
    return _last_part(path) if is_path and data not in datasets.NAMES else data


def _public_preset(preset):
    """Returns the name of a preset, or the last part of a path."""
    named = preset in sources.zoo() or preset.startswith(addresses.PREFIX)
    return preset if named else _last_part(pathlib.Path(preset))


def _last_part(path):
    path = path.absolute()
    # Each run has presets of these names, so its folder is named too.
    last = path.parts[-2:] if path.name in ("best", "last") else path.parts[-1:]
    return "/".join(last).strip("/")
