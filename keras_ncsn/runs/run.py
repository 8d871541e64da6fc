"""A training run: a folder with a recipe, checkpoints, a log and pictures."""

import contextlib
import os
import pathlib
import zlib
from collections.abc import Sequence

import filelock
import keras
import numpy as np

from keras_ncsn import datasets
from keras_ncsn.callbacks import Checkpoint, SamplePictures, TrainingLog
from keras_ncsn.callbacks.tensorboard_log import TensorBoardLog
from keras_ncsn.callbacks.training_state import STATE_FILE
from keras_ncsn.checks import check_images
from keras_ncsn.model import NCSNModel
from keras_ncsn.parallel import check_batch, is_main_process, process_share
from keras_ncsn.presets import saving
from keras_ncsn.runs import building, provenance, recipes, run_file

NUM_VALIDATION_IMAGES = 256


def load_images(
    run: run_file.Run,
    data_dir: str | os.PathLike[str] | None = None,
    skip_unreadable: bool = False,
) -> np.ndarray:
    """Returns the images of a run, enough for a batch.

    Args:
        run: Dictionary, from `run_file.describe`.
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
    if run["from_preset"] is None:
        # A preset may have another range; `train` looks at those.
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
    folder: str | os.PathLike[str],
    run: run_file.Run,
    images: np.ndarray,
    log_every: int = run_file.WRITING["log_every"],
    checkpoint_every: int = run_file.WRITING["checkpoint_every"],
    sample_every: int = run_file.WRITING["sample_every"],
    tensorboard: bool = run_file.WRITING["tensorboard"],
    extra_callbacks: Sequence[keras.callbacks.Callback] = (),
) -> int:
    """Trains, from the last checkpoint in the folder if there is one.

    Args:
        folder: Path, which `run_file.check` passed.
        run: Dictionary, from `run_file.describe`.
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
    run_file.check_intervals(log_every, checkpoint_every)
    folder = pathlib.Path(folder)
    recipe = recipes.restore(
        run["recipe_name"], run["recipe"], run["from_preset"]
    )
    keras.utils.set_random_seed(run["seed"])
    began_from = _began_from(folder, run)
    model = _make_model(run, recipe, images, began_from)
    check_images(images, model.image_shape, model.value_range)
    check_batch(recipe.batch_size)
    if sample_every:
        SamplePictures.check(model)
    run = run | {"images": _fingerprint(images)}
    run_file.check_same_images(folder, run)
    model.compile(building.make_optimizer(recipe))
    metadata = provenance.metadata(run, began_from)
    checkpoint = Checkpoint(folder, checkpoint_every, metadata)
    start = checkpoint.restore(model)
    if start >= recipe.steps:
        return start
    indices, held_out = _split(images)
    writing = {
        "log_every": log_every,
        "checkpoint_every": checkpoint_every,
        "sample_every": sample_every,
        "tensorboard": tensorboard,
    }
    writers = _make_writers(
        folder,
        writing,
        recipe.batch_size,
        start,
        None if held_out is None else images[held_out],
        metadata,
    )
    batches = datasets.shuffled_batches(
        images,
        recipe.batch_size,
        run["seed"],
        flip=recipe.random_flip,
        start=start,
        indices=indices,
    )
    # Nothing is written before all is known to fit, and the run file first:
    # by it the folder is known.
    with _locked(folder):
        if is_main_process():
            run_file.write(folder, run | {"writing": writing})
        try:
            model.fit(
                process_share(batches),
                steps_per_epoch=recipe.steps - start,
                # Those of the caller first: one of them may tell the writers
                # to stop.
                callbacks=[*extra_callbacks, *writers, checkpoint],
                verbose=0,
            )
        except FloatingPointError as error:
            advice = _advice(folder, checkpoint.saved)
            raise FloatingPointError(f"{error} {advice}") from None
    return checkpoint.step


def _began_from(folder, run):
    """Returns the preset that says what the model is, `None` for the recipe.

    A run that goes on asks its own, in which that stays as it was, whatever
    became of the one that it began from; weights come from its state.
    """
    if run["from_preset"] is not None and (folder / STATE_FILE).exists():
        # It stepped aside where a process was killed while it saved.
        aside = saving.leftovers(folder / "last")
        aside = [path for path in aside if path.suffix == ".old"]
        for own in (folder / "last", *aside):
            if own.exists():
                return own
    return run["from_preset"]


def _make_model(run, recipe, images, began_from):
    seed = run["seed"]
    if began_from is None:
        return building.make_model(recipe, images, seed)
    model = NCSNModel.from_preset(
        began_from,
        load_weights=began_from == run["from_preset"],
        seed=seed,
        ema_momentum=recipe.ema_momentum or None,
        **recipe.in_place_of_preset(),
    )
    # For other images, or a better network, the guide would be wrong.
    return NCSNModel.from_config(
        model.get_config() | {"network": model.network, "guide": None}
    )


def _make_writers(folder, writing, batch_size, start, held_out, metadata):
    """Returns the callbacks that write the log and the pictures."""
    log = TrainingLog(
        folder,
        writing["log_every"],
        batch_size,
        validation_images=held_out,
        validate_every=(
            None if held_out is None else writing["checkpoint_every"]
        ),
        metadata=metadata,
    )
    events = None
    if writing["tensorboard"] and is_main_process():
        events = TensorBoardLog(folder / "tensorboard", start)
        log.on_row = events.add_row
    if not writing["sample_every"]:
        return [log]
    pictures = SamplePictures(folder / "samples", writing["sample_every"])
    if events is not None:
        pictures.on_picture = events.add_images
    return [log, pictures]


def _advice(folder, step):
    # Resuming would repeat the failure, to the last bit.
    if not step:
        return "Nothing is saved yet. Start again in another folder."
    return (
        f"{folder / 'last'} holds step {step}. Train on from it in another "
        f"folder, with --from-preset {folder / 'last'}."
    )


@contextlib.contextmanager
def _locked(folder):
    # The other processes of this run write nothing.
    if not is_main_process():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / run_file.LOCK_FILE
    if lock.exists() and not lock.is_file():
        raise ValueError(
            "The lock of a run must be a file. Received: "
            f"{lock}, which is none. Remove it."
        )
    try:
        with filelock.FileLock(lock, timeout=0):
            yield
    except filelock.Timeout:
        raise ValueError(
            "A run must be trained by one process at a time. Received: "
            f"{folder}, which another process is training"
        ) from None


def _fingerprint(images):
    # Of some hundred images, spread evenly: they may be more than fit into
    # memory.
    sample = np.ascontiguousarray(images[:: max(1, len(images) // 500)])
    return {
        "shape": list(images.shape),
        "dtype": str(images.dtype),
        "crc32_of_some": zlib.crc32(sample),  # type: ignore[arg-type]
    }


def _num_validation(images):
    return min(NUM_VALIDATION_IMAGES, len(images) // 10)


def _split(images):
    if _num_validation(images) == 0:
        return None, None
    return datasets.hold_out(images, _num_validation(images))
