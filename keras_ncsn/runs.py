"""A training run: a folder with a recipe, checkpoints, a log and pictures."""

import contextlib
import json
import pathlib
import shlex
import zlib

import filelock
import keras
import numpy as np

from keras_ncsn import datasets, recipes, sources
from keras_ncsn.callbacks import Checkpoint, SamplePictures, TrainingLog
from keras_ncsn.checks import check_images
from keras_ncsn.files import open_whole
from keras_ncsn.model import NCSNModel
from keras_ncsn.parallel import check_batch, is_main_process, process_share
from keras_ncsn.tensorboard_log import TensorBoardLog

RUN_FILE = "run.json"
LOCK_FILE = ".lock"
NUM_VALIDATION_IMAGES = 256


def describe(data, recipe_name, settings=None, from_preset=None, seed=0):
    """Returns all that the result of a run depends on.

    Args:
        data: String, a name or a path, see `datasets.load_images`.
        recipe_name: String, a key of `recipes.RECIPES`.
        settings: Dictionary of values that replace the recipe's. Defaults to
            `None`.
        from_preset: String, a preset whose model to go on with. Defaults to
            `None`.
        seed: Integer, at least 0. Defaults to `0`.

    Returns:
        A dictionary that JSON can hold.

    Example:

    >>> run = describe("mnist", "unet-mnist", {"steps": 100})
    >>> run["recipe"]["steps"], run["recipe"]["width"]
    (100, 44)
    """
    settings = settings or {}
    recipe = recipes.find(recipe_name, settings)
    if from_preset is None:
        recipes.make_schedule(recipe)
    else:
        sources.find(from_preset)
        names = recipes.TRAINING_NAMES + recipes.PRESET_NAMES
        odd = sorted(settings.keys() - set(names))
        if odd:
            raise ValueError(
                "What the model is comes from the preset. Received: "
                f"from_preset={from_preset!r}, and {', '.join(odd)}. Leave "
                "them out, or start from random weights."
            )
        recipe = {name: recipe[name] for name in recipes.TRAINING_NAMES}
        recipe |= {name: settings.get(name) for name in recipes.PRESET_NAMES}
    run = {
        "data": str(data),
        "recipe_name": recipe_name,
        "recipe": recipe,
        "from_preset": from_preset,
        "seed": seed,
    }
    # Tuples become lists, as they will when it is read back.
    return json.loads(json.dumps(run))


def command(run):
    """Returns the command that does a run, as its card gives it.

    Args:
        run: Dictionary, from `describe`.

    Returns:
        A string.

    Example:

    >>> command(describe("mnist", "unet-mnist", {"steps": 9}, seed=1))
    'keras-ncsn train mnist OUTPUT --recipe unet-mnist --seed 1 --steps 9'
    """
    words = ["keras-ncsn", "train", run["data"], "OUTPUT"]
    words += ["--recipe", run["recipe_name"]]
    if run["from_preset"] is not None:
        words += ["--from-preset", run["from_preset"]]
    words += ["--seed", str(run["seed"])]
    usual = json.loads(json.dumps(recipes.find(run["recipe_name"])))
    for name, value in run["recipe"].items():
        if value is None or value == usual[name]:
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list):
            words += [f"--{flag}", ",".join(map(str, value))]
        else:
            words += [f"--{flag}", str(value)]
    return shlex.join(words)


def check(folder, run, resume=False):
    """Raises a `ValueError` unless the folder is for this run.

    Args:
        folder: Path.
        run: Dictionary, from `describe`.
        resume: Boolean, whether to go on where the folder holds the run
            already. Defaults to `False`.
    """
    folder = pathlib.Path(folder)
    path = folder / RUN_FILE
    if not path.is_file():
        if folder.exists() and (not folder.is_dir() or _holds_files(folder)):
            raise ValueError(
                "A run must be kept in a new or empty folder. Received: "
                f"{folder}"
            )
        return
    if not resume:
        raise ValueError(
            f"A run must be kept in a new or empty folder. Received: {folder}, "
            "which holds a run. Go on with it by --resume (`resume=True`), or "
            "choose another."
        )
    before = _read(path)
    # The same images may lie elsewhere now; `train` looks at themselves.
    odd = [
        difference
        for difference in _differences(before, run)
        if difference[0] not in {"data", "images"}
    ]
    if odd:
        raise ValueError(
            "A run must go on as it began. Received: "
            + ", ".join(f"{name}={value!r}" for name, _, value in odd)
            + f"; {folder} began with "
            + ", ".join(f"{name}={value!r}" for name, value, _ in odd)
        )


def load_images(run, data_dir=None, skip_unreadable=False):
    """Returns the images of a run, checked.

    Args:
        run: Dictionary, from `describe`.
        data_dir: As in `datasets.load_images`.
        skip_unreadable: As in `datasets.load_images`.

    Returns:
        An array of shape `(num_images, height, width, channels)`.
    """
    images = datasets.load_images(
        run["data"],
        image_size=run["recipe"]["image_size"],
        data_dir=data_dir,
        skip_unreadable=skip_unreadable,
    )
    check_images(images, images.shape[1:])
    batch_size = run["recipe"]["batch_size"]
    num_images = len(images) - _num_validation(images)
    if batch_size > num_images:
        raise ValueError(
            "`batch_size` must be at most the number of images to train on. "
            f"Received: batch_size={batch_size}, {num_images} images"
        )
    return images


def train(
    folder,
    run,
    images,
    log_every=50,
    checkpoint_every=500,
    sample_every=1000,
    tensorboard=False,
    extra_callbacks=(),
):
    """Trains, from the last checkpoint in the folder if there is one.

    Args:
        folder: Path, which `check` passed.
        run: Dictionary, from `describe`.
        images: Array, from `load_images`.
        log_every: Integer, steps between rows of the log. Defaults to `50`.
        checkpoint_every: Integer, steps between checkpoints, a multiple of
            `log_every`. Defaults to `500`.
        sample_every: Integer, steps between pictures, 0 for none. Defaults to
            `1000`.
        tensorboard: Boolean, whether to log for TensorBoard as well. Defaults
            to `False`.
        extra_callbacks: Sequence of Keras callbacks. Defaults to `()`.

    Returns:
        Integer, the steps taken in all: fewer than the recipe's if a callback
        stopped training.
    """
    folder = pathlib.Path(folder)
    recipe, seed = run["recipe"], run["seed"]
    keras.utils.set_random_seed(seed)
    if run["from_preset"] is None:
        model = recipes.make_model(recipe, images, seed)
    else:
        overrides = {name: recipe[name] for name in recipes.PRESET_NAMES}
        model = NCSNModel.from_preset(
            run["from_preset"],
            seed=seed,
            ema_momentum=recipe["ema_momentum"] or None,
            **{k: v for k, v in overrides.items() if v is not None},
        )
        # For other images, or a better network, the guide would be wrong.
        model = NCSNModel.from_config(
            model.get_config() | {"network": model.network, "guide": None}
        )
    check_images(images[:1], model.image_shape)
    check_batch(recipe["batch_size"])
    run = run | {"images": _fingerprint(images)}
    _check_same_images(folder, run)
    model.compile(recipes.make_optimizer(recipe))
    metadata = {
        "data": run["data"],
        "recipe": run["recipe_name"],
        "batch_size": recipe["batch_size"],
        "command": command(run),
    }
    checkpoint = Checkpoint(folder, checkpoint_every, metadata)
    start = checkpoint.restore(model)
    if start >= recipe["steps"]:
        return start
    indices, held_out = _split(images)
    log = TrainingLog(
        folder,
        log_every,
        recipe["batch_size"],
        start,
        validation_images=None if held_out is None else images[held_out],
        validate_every=None if held_out is None else checkpoint_every,
        metadata=metadata,
    )
    writers = [log]
    if sample_every:
        pictures = SamplePictures(folder / "samples", sample_every, start)
        writers.append(pictures)
    # The checkpoint is after the log, which starts its mean anew.
    writers.append(checkpoint)
    batches = datasets.shuffled_batches(
        images,
        recipe["batch_size"],
        seed,
        flip=recipe["random_flip"],
        start=start,
        indices=indices,
    )
    if tensorboard and is_main_process():
        events = TensorBoardLog(folder / "tensorboard", start)
        log.on_row = events.add_row
        if sample_every:
            pictures.on_picture = events.add_images
    # Nothing is written before all is known to fit, and this file first: by
    # it `check` knows the folder.
    with _locked(folder):
        if is_main_process():
            with open_whole(folder / RUN_FILE) as file:
                file.write((json.dumps(run, indent=2) + "\n").encode())
        model.fit(
            process_share(batches),
            steps_per_epoch=recipe["steps"] - start,
            callbacks=[*writers, *extra_callbacks],
            verbose=0,
        )
    return checkpoint.step


@contextlib.contextmanager
def _locked(folder):
    # The other processes of this run write nothing.
    if not is_main_process():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(folder / LOCK_FILE, timeout=0):
            yield
    except filelock.Timeout:
        raise ValueError(
            "A run must be trained by one process at a time. Received: "
            f"{folder}, which another process is training"
        ) from None


def _read(path):
    try:
        run = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"A run must have a readable {RUN_FILE}. Received: {path}, {error}"
        ) from None
    if not isinstance(run, dict):
        raise ValueError(
            f"A run must have a readable {RUN_FILE}. Received: {path}, which "
            "holds something else"
        )
    return run


def _fingerprint(images):
    # Of some hundred images, spread evenly: they may be more than fit into
    # memory.
    sample = np.ascontiguousarray(images[:: max(1, len(images) // 500)])
    return {
        "shape": list(images.shape),
        "dtype": str(images.dtype),
        "crc32_of_some": zlib.crc32(sample),
    }


def _check_same_images(folder, run):
    path = folder / RUN_FILE
    # Runs of versions before this one did not say.
    before = _read(path).get("images") if path.is_file() else None
    if before not in (None, run["images"]):
        raise ValueError(
            "A run must go on with the images that it began with. Received: "
            f"data={run['data']!r}, which is {run['images']}; {folder} began "
            f"with {before}"
        )


def _holds_files(folder):
    # But what a run that was killed at its very beginning left.
    left_over = {f".{RUN_FILE}.tmp", LOCK_FILE}
    return any(path.name not in left_over for path in folder.iterdir())


def _num_validation(images):
    return min(NUM_VALIDATION_IMAGES, len(images) // 10)


def _split(images):
    if _num_validation(images) == 0:
        return None, None
    return datasets.hold_out(images, _num_validation(images))


def _differences(before, run):
    """Yields the name, old and new value of all that is not the same."""
    for name in sorted(before.keys() | run.keys()):
        old, new = before.get(name), run.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new)
        elif old != new:
            yield name, old, new
