"""The run file, `run.json`: everything that a run depends on."""

import json
import os
import pathlib
from typing import Any

from keras_ncsn.callbacks.training_state import STATE_FILE
from keras_ncsn.checks import check_count
from keras_ncsn.files import (
    leftovers,
    open_whole,
    read_regular,
    remove_leftovers,
)
from keras_ncsn.presets import format, sources
from keras_ncsn.runs import recipes, run_values
from keras_ncsn.runs.recipe import Recipe
from keras_ncsn.runs.run_folder import (
    LOCK_FILE,
    RUN_FILE,
    check_contents,
    check_links,
    check_not_from_hub,
)
from keras_ncsn.text import one_line, reason

# What `run.json` holds.
Run = dict[str, Any]

# A run file has a few thousand bytes.
MAX_BYTES = 2**20

# What a run writes besides its result, and how often.
WRITING: dict[str, Any] = {
    "log_every": 50,
    "checkpoint_every": 500,
    "sample_every": 1000,
    "tensorboard": False,
}


def describe(
    data: str | os.PathLike[str],
    recipe_name: str | None = None,
    settings: dict[str, Any] | None = None,
    from_preset: str | None = None,
    seed: int | None = None,
    before: Run | None = None,
) -> Run:
    """Returns everything that the result of a run depends on.

    Args:
        data: String, a name or a path, see `datasets.load_images`.
        recipe_name: String, a key of `recipes.RECIPES`. Defaults to `None`,
            the recipe of `before`, or else the default for the data.
        settings: Dictionary of values that replace the recipe's, see
            `recipes.find`. Settings that it leaves out keep their values in
            `before`. Defaults to `None`.
        from_preset: String, the preset whose model is trained. Defaults to
            `None`, the preset of `before`, or else none.
        seed: Integer, at least 0. Defaults to `None`, the seed of `before`, or
            else 0.
        before: Dictionary, the run that is resumed, from `read`.
            Defaults to `None`, a new run.

    Returns:
        A dictionary that JSON can hold.

    Example:

    >>> run = describe("mnist", "unet-mnist", {"steps": 100})
    >>> run["recipe"]["steps"], run["recipe"]["width"]
    (100, 44)
    """
    settings = settings or {}
    if before is not None:
        recipe_name = recipe_name or before["recipe_name"]
        from_preset = from_preset or before["from_preset"]
        seed = before["seed"] if seed is None else seed
        # Its settings are only for its own recipe and preset. `check` refuses
        # others.
        began = before["recipe_name"], before["from_preset"]
        if (recipe_name, from_preset) == began:
            settings = before["recipe"] | settings
    recipe_name = recipe_name or recipes.recipe_of_data(data)
    recipe: Recipe
    if from_preset is None:
        recipe = recipes.find(recipe_name, settings)
    else:
        recipe = recipes.find_for_preset(recipe_name, from_preset, settings)
        if before is None or before["from_preset"] != from_preset:
            sources.find(from_preset)
    if before is None:
        _check_distribution(settings, recipe, from_preset)
        _check_dropout(settings, recipe)
    run: Run = {
        "data": str(data),
        "recipe_name": recipe_name,
        "recipe": recipe.values(),
        "from_preset": from_preset,
        "seed": seed or 0,
    }
    if from_preset is not None and _takes_labels(from_preset, before):
        run["conditional"] = True
    earlier = [] if before is None else _earlier_steps(before, recipe.steps)
    if earlier:
        run["earlier_steps"] = earlier
    # Tuples become lists, as when the file is read back.
    return json.loads(json.dumps(run))


def _earlier_steps(before, steps):
    """Returns the steps that a run was to have before it became longer."""
    earlier, last = before.get("earlier_steps") or [], before["recipe"]["steps"]
    return [*earlier, last] if steps > last else earlier


def is_conditional(run: Run) -> bool:
    """Returns whether a run needs the labels of its images.

    Args:
        run: Dictionary, from `describe`.

    Returns:
        A boolean.
    """
    of_recipe = run["recipe"].get("conditional", False)
    return of_recipe or run.get("conditional", False)


def _takes_labels(preset, before):
    if before is not None and before["from_preset"] == preset:
        return before.get("conditional", False)
    folder = sources.find(preset, load_weights=False)
    return format.read_config(folder)["config"].get("class_names") is not None


def _check_distribution(settings, recipe, from_preset):
    given = sorted({"log_sigma_mean", "log_sigma_std"} & settings.keys())
    if not given:
        return
    distribution = recipe.sigma_distribution
    if distribution is None:
        folder = sources.find(from_preset, load_weights=False)
        config = format.read_config(folder)["config"]
        distribution = config.get("sigma_distribution", "ladder")
    if distribution != "log_normal":
        raise ValueError(
            f"{' and '.join(given)} must be used with noise levels drawn "
            "from a log-normal distribution. Received: sigma_distribution="
            f"{distribution!r}. Add --sigma-distribution log_normal."
        )


def _check_dropout(settings, recipe):
    given = "condition_dropout" in settings
    if given and not getattr(recipe, "conditional", False):
        raise ValueError(
            "`condition_dropout` must be given only for a run with labels. "
            f"Received: condition_dropout={settings['condition_dropout']}, "
            "conditional=False. Add --conditional."
        )


def check(
    folder: str | os.PathLike[str], run: Run, resume: bool = False
) -> None:
    """Raises a `ValueError` unless a run can be kept in a folder.

    Args:
        folder: Path.
        run: Dictionary, from `describe`.
        resume: Boolean, whether the folder may hold this run already. Defaults
            to `False`.
    """
    folder = pathlib.Path(folder)
    before = read(folder)
    if before is None:
        if folder.exists() and (not folder.is_dir() or _holds_files(folder)):
            raise ValueError(
                "A run must be kept in a new or empty folder. Received: "
                f"{folder}"
            )
    elif not resume:
        raise ValueError(
            f"A run must be kept in a new or empty folder. Received: {folder}, "
            "which holds a run. Resume it with --resume (`resume=True`), or "
            "choose another folder."
        )
    else:
        _check_same_settings(folder, before, run)
        if not (folder / STATE_FILE).exists():
            check_not_from_hub(folder, run["from_preset"])
    check_contents(folder, run["recipe"]["steps"])


def _check_same_settings(folder, before, run):
    # The images may have moved. `check_same_images` compares them.
    changed = [
        difference
        for difference in _differences(before, run)
        if difference[0] not in {"data", "images", "writing", "earlier_steps"}
        and not _is_longer(*difference)
    ]
    if changed:
        raise ValueError(
            "A run must be resumed with its own settings. Received: "
            + one_line(", ".join(f"{n}={new!r}" for n, _, new in changed))
            + f"; {folder} began with "
            + one_line(", ".join(f"{n}={old!r}" for n, old, _ in changed))
        )


def _is_longer(name, old, new):
    return name == "steps" and new > old


def read(folder: str | os.PathLike[str]) -> Run | None:
    """Returns the run that a folder holds.

    Args:
        folder: Path.

    Returns:
        A dictionary, as from `describe`, or `None` where there is no run.
    """
    check_links(folder)
    path = pathlib.Path(folder) / RUN_FILE
    if not path.exists():
        return None
    try:
        run = json.loads(read_regular(path, MAX_BYTES))
        return run_values.checked(run, WRITING)
    except (OSError, LookupError, RecursionError, ValueError) as error:
        raise ValueError(
            f"A run must have a readable {RUN_FILE}. Received: {path}, "
            f"{type(error).__name__}: {reason(error)}"
        ) from None


def log_interval(
    checkpoint_every: int, most: int = WRITING["log_every"]
) -> int:
    """Returns the steps between rows of the log that suit its checkpoints.

    Args:
        checkpoint_every: Integer, at least 1, steps between checkpoints.
        most: Integer, at least 1. Defaults to `50`.

    Returns:
        Integer, the largest divisor of `checkpoint_every` that is at most
        `most`.

    Example:

    >>> log_interval(5), log_interval(120)
    (5, 40)
    """
    check_count(checkpoint_every=checkpoint_every)
    return max(
        steps for steps in range(1, most + 1) if checkpoint_every % steps == 0
    )


def check_intervals(log_every: int, checkpoint_every: int) -> None:
    """Raises a `ValueError` unless each checkpoint is at a row of the log.

    Args:
        log_every: Integer, at least 1, steps between rows.
        checkpoint_every: Integer, at least 1, steps between checkpoints.
    """
    check_count(log_every=log_every, checkpoint_every=checkpoint_every)
    if checkpoint_every % log_every:
        raise ValueError(
            "`checkpoint_every` must be a multiple of `log_every`, because a "
            "checkpoint's loss goes into a row of the log. Received: "
            f"checkpoint_every={checkpoint_every}, log_every={log_every}. "
            "Choose both: --log-every, --checkpoint-every."
        )


def write(folder: str | os.PathLike[str], run: Run) -> None:
    """Writes the run file into a folder.

    Args:
        folder: Path.
        run: Dictionary, from `describe`.
    """
    path = pathlib.Path(folder) / RUN_FILE
    remove_leftovers(path)
    try:
        with open_whole(path) as file:
            file.write((json.dumps(run, indent=2) + "\n").encode())
    except OSError as error:
        raise OSError(
            f"The run could not be written to {path}: {error.strerror}. Make "
            "room, or choose another disk."
        ) from error


def check_same_images(folder: str | os.PathLike[str], run: Run) -> None:
    """Raises a `ValueError` if the run in a folder began with other images.

    Args:
        folder: Path.
        run: Dictionary, from `describe`, whose `images` describes the images.
    """
    # Run files of earlier versions do not describe the images.
    before = (read(folder) or {}).get("images")
    if before not in (None, run["images"]):
        raise ValueError(
            "A run must be resumed with its own images. Received: "
            f"data={run['data']!r}, which is {run['images']}; {folder} began "
            f"with {before}"
        )


def _holds_files(folder):
    # A run that was killed at its very start leaves only these files.
    left_over = {folder / LOCK_FILE, *leftovers(folder / RUN_FILE)}
    return any(path not in left_over for path in folder.iterdir())


def _differences(before, run):
    """Yields the name, the old and the new value of each difference."""
    for name in sorted(before.keys() | run.keys()):
        old, new = before.get(name), run.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new)
        elif old != new:
            yield name, old, new
