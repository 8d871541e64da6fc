"""A training run: a folder with a recipe, checkpoints, a log and pictures."""

import json
import pathlib

import keras

from keras_ncsn import datasets, recipes
from keras_ncsn.callbacks import Checkpoint, SamplePictures, TrainingLog
from keras_ncsn.checks import check_images
from keras_ncsn.files import open_whole
from keras_ncsn.model import NCSNModel
from keras_ncsn.parallel import check_batch, is_main_process, process_share
from keras_ncsn.tensorboard_log import TensorBoardLog

RUN_FILE = "run.json"
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
    (100, 32)
    """
    settings = settings or {}
    recipe = recipes.find(recipe_name, settings)
    if from_preset is not None:
        odd = sorted(settings.keys() - set(recipes.TRAINING_NAMES))
        if odd:
            raise ValueError(
                "What the model is comes from the preset. Received: "
                f"from_preset={from_preset!r}, and {', '.join(odd)}. Leave "
                "them out, or start from random weights."
            )
        recipe = {name: recipe[name] for name in recipes.TRAINING_NAMES}
        # Whose layers are not ours fixes their precision.
        recipe["dtype"] = settings.get("dtype")
    run = {
        "data": str(data),
        "recipe_name": recipe_name,
        "recipe": recipe,
        "from_preset": from_preset,
        "seed": seed,
    }
    # Tuples become lists, as they will when it is read back.
    return json.loads(json.dumps(run))


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
    before = json.loads(path.read_text())
    odd = list(_differences(before, run))
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
        model = NCSNModel.from_preset(
            run["from_preset"],
            seed=seed,
            ema_momentum=recipe["ema_momentum"] or None,
            dtype=recipe["dtype"],
        )
    check_images(images[:1], model.image_shape)
    check_batch(recipe["batch_size"])
    model.compile(recipes.make_optimizer(recipe))
    metadata = {
        "data": run["data"],
        "recipe": run["recipe_name"],
        "batch_size": recipe["batch_size"],
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
    pictures = SamplePictures(folder / "samples", sample_every, start)
    batches = datasets.shuffled_batches(
        images,
        recipe["batch_size"],
        seed,
        flip=recipe["random_flip"],
        start=start,
        indices=indices,
    )
    # Nothing is written before all is known to fit.
    if is_main_process():
        if tensorboard:
            events = TensorBoardLog(folder / "tensorboard")
            log.on_row, pictures.on_picture = events.add_row, events.add_images
        folder.mkdir(parents=True, exist_ok=True)
        with open_whole(folder / RUN_FILE) as file:
            file.write((json.dumps(run, indent=2) + "\n").encode())
    # The checkpoint is after the log, which starts its mean anew.
    writers = [log, *([pictures] if sample_every else []), checkpoint]
    model.fit(
        process_share(batches),
        steps_per_epoch=recipe["steps"] - start,
        callbacks=[
            *(writers if is_main_process() else []),
            *extra_callbacks,
        ],
        verbose=0,
    )
    return checkpoint.step


def _holds_files(folder):
    # But what a run that was killed at its very beginning left.
    return any(path.name != f".{RUN_FILE}.tmp" for path in folder.iterdir())


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
