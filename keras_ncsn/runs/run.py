"""A training run: a folder with a recipe, checkpoints, a log and pictures."""

import contextlib
import json
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
from keras_ncsn.conditions import Labels
from keras_ncsn.datasets import LabelledImages
from keras_ncsn.model import NCSNModel
from keras_ncsn.parallel import check_batch, is_main_process, process_share
from keras_ncsn.presets import recovery
from keras_ncsn.runs import (
    building,
    provenance,
    recipes,
    run_file,
    run_folder,
)
from keras_ncsn.text import one_line

NUM_VALIDATION_IMAGES = 256


def load_images(
    run: run_file.Run,
    data_dir: str | os.PathLike[str] | None = None,
    skip_unreadable: bool = False,
) -> LabelledImages:
    """Loads the images of a run, and checks that they fill a batch.

    Args:
        run: Dictionary, from `run_file.describe`.
        data_dir: As in `datasets.load_images`.
        skip_unreadable: As in `datasets.load_images`.

    Returns:
        A `LabelledImages`, with labels if the run needs them.
    """
    labelled = run_file.is_conditional(run)
    load = datasets.load_labelled_images if labelled else datasets.load_images
    loaded = load(
        run["data"],
        image_size=run["recipe"]["image_size"],
        data_dir=data_dir,
        skip_unreadable=skip_unreadable,
    )
    data = _as_data(loaded)
    images = data.images
    if run["from_preset"] is None:
        # A preset may have another value range, which `train` checks.
        check_images(images, images.shape[1:])
    batch_size = run["recipe"]["batch_size"]
    num_images = len(images) - _num_validation(images)
    if batch_size > num_images:
        raise ValueError(
            "`batch_size` must be at most the number of images to train on. "
            f"Received: batch_size={batch_size}, {num_images} images"
        )
    return data


def train(
    folder: str | os.PathLike[str],
    run: run_file.Run,
    data: np.ndarray | LabelledImages,
    log_every: int = run_file.WRITING["log_every"],
    checkpoint_every: int = run_file.WRITING["checkpoint_every"],
    sample_every: int = run_file.WRITING["sample_every"],
    tensorboard: bool = run_file.WRITING["tensorboard"],
    extra_callbacks: Sequence[keras.callbacks.Callback] = (),
) -> int:
    """Trains a model, from the last checkpoint in the folder if there is one.

    Args:
        folder: Path of the run's folder, which `run_file.check` has passed.
        run: Dictionary, from `run_file.describe`.
        data: A `LabelledImages` from `load_images`, or an array of images
            for a run without labels.
        log_every: Integer, steps between rows of the log. Defaults to `50`.
        checkpoint_every: Integer, steps between checkpoints, a multiple of
            `log_every`. Defaults to `500`.
        sample_every: Integer, steps between pictures, 0 for none. Defaults to
            `1000`.
        tensorboard: Boolean, whether to log for TensorBoard as well. Defaults
            to `False`.
        extra_callbacks: Sequence of Keras callbacks. Defaults to `()`.

    Returns:
        Integer, the total number of steps taken. It is smaller than the
        recipe's `steps` if a callback stopped training.
    """
    run_file.check_intervals(log_every, checkpoint_every)
    folder = pathlib.Path(folder)
    recipe = recipes.restore(
        run["recipe_name"], run["recipe"], run["from_preset"]
    )
    run_folder.check_contents(folder, recipe.steps)
    keras.utils.set_random_seed(run["seed"])
    began_from = _began_from(folder, run)
    labelled = _as_data(data)
    images, labels = labelled.images, labelled.labels
    if labels is None and run_file.is_conditional(run):
        raise ValueError(
            "The images of a conditional run must have labels. Received: "
            "images alone. Pass what `load_images` returns."
        )
    model = _make_model(run, recipe, labelled, began_from)
    check_images(images, model.image_shape, model.value_range)
    check_batch(recipe.batch_size)
    if sample_every:
        SamplePictures.check(model)
    run = run | {"images": _fingerprint(labelled)}
    run_file.check_same_images(folder, run)
    model.compile(building.make_optimizer(recipe))
    metadata = provenance.metadata(run, began_from)
    checkpoint = Checkpoint(folder, checkpoint_every, metadata)
    start = checkpoint.restore(model)
    if start >= recipe.steps:
        return start
    indices, held_out = _split(images)
    validation = None
    if held_out is not None:
        validation = LabelledImages(
            images[held_out], None if labels is None else labels[held_out]
        )
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
        validation,
        metadata,
    )
    batches = datasets.shuffled_batches(
        images,
        recipe.batch_size,
        run["seed"],
        flip=recipe.random_flip,
        start=start,
        indices=indices,
        labels=labels,
    )
    # Nothing is written before all checks have passed. The run file is written
    # first, because it marks the folder as a run folder.
    with _locked(folder):
        if is_main_process():
            run_file.write(folder, run | {"writing": writing})
        try:
            model.fit(
                process_share(batches),
                steps_per_epoch=recipe.steps - start,
                # The caller's callbacks come first: one of them may tell the
                # writers to stop.
                callbacks=[*extra_callbacks, *writers, checkpoint],
                verbose=0,
            )
        except FloatingPointError as error:
            advice = _advice(folder, checkpoint.saved)
            raise FloatingPointError(f"{error} {advice}") from None
    return checkpoint.step


def _began_from(folder, run):
    """Returns the preset to build the model from, or `None` for the recipe.

    A resumed run rebuilds its model from its own `last` preset, even if the
    original preset has changed or is gone. Its weights come from its state.
    """
    if run["from_preset"] is not None and (folder / STATE_FILE).exists():
        # If a process was killed while it saved, `last` may have another name.
        aside = recovery.leftovers(folder / "last")
        aside = [path for path in aside if path.suffix == ".old"]
        for own in (folder / "last", *aside):
            if own.exists():
                return own
    if (folder / run_folder.RUN_FILE).exists():
        run_folder.check_not_from_hub(folder, run["from_preset"])
    return run["from_preset"]


def _as_data(data: np.ndarray | LabelledImages) -> LabelledImages:
    if isinstance(data, LabelledImages):
        return data
    return LabelledImages(data)


def _make_model(run, recipe, data, began_from):
    seed = run["seed"]
    classes = {"class_names": data.class_names, "class_counts": None}
    if data.labels is not None:
        num_classes = len(data.class_names)
        counts = np.bincount(data.labels, minlength=num_classes)
        classes["class_counts"] = counts.tolist()
    if began_from is None:
        return building.make_model(recipe, data.images, seed, **classes)
    model = NCSNModel.from_preset(
        began_from,
        load_weights=began_from == run["from_preset"],
        seed=seed,
        ema_momentum=recipe.ema_momentum or None,
        **recipe.in_place_of_preset(),
    )
    _check_condition(model, data, began_from)
    # The guide would not fit other images or a better network.
    return NCSNModel.from_config(
        model.get_config() | classes | {"network": model.network, "guide": None}
    )


def _check_condition(model, data, preset):
    if model.condition is None:
        return
    if not isinstance(model.condition, Labels) or data.labels is None:
        raise ValueError(
            "The data of a run must have the conditions that the preset's "
            f"network takes. Received: {preset}, which takes "
            f"{model.condition.argument}. Train it with `NCSNModel.fit`."
        )
    if sorted(data.class_names) == sorted(model.class_names) and (
        data.class_names != model.class_names
    ):
        raise ValueError(
            "The data of a run must have its classes in the order of the "
            f"preset. Received: {one_line(', '.join(data.class_names))} for "
            f"{preset}, which has {one_line(', '.join(model.class_names))}"
        )
    if len(data.class_names) != len(model.class_names):
        raise ValueError(
            "The data of a run must have as many classes as the preset. "
            f"Received: {len(data.class_names)} classes for {preset}, which "
            f"has {len(model.class_names)}. Start from random weights."
        )


def _make_writers(folder, writing, batch_size, start, held_out, metadata):
    """Returns the callbacks that write the log and the pictures."""
    log = TrainingLog(
        folder,
        writing["log_every"],
        batch_size,
        validation_images=None if held_out is None else held_out.images,
        validate_every=(
            None if held_out is None else writing["checkpoint_every"]
        ),
        metadata=metadata,
        validation_condition=None if held_out is None else held_out.labels,
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
    # A resumed run would repeat the failure exactly.
    if not step:
        return "Nothing is saved yet. Start again in another folder."
    return (
        f"{folder / 'last'} holds step {step}. To continue from it, train in "
        f"another folder with --from-preset {folder / 'last'}."
    )


@contextlib.contextmanager
def _locked(folder):
    # The other processes of this run write nothing.
    if not is_main_process():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(folder / run_folder.LOCK_FILE, timeout=0):
            yield
    except filelock.Timeout:
        raise ValueError(
            "A run must be trained by one process at a time. Received: "
            f"{folder}, which another process is training"
        ) from None


def _fingerprint(data):
    images = data.images
    # Only some hundred images, spread evenly, because not all may fit into
    # memory.
    sample = np.ascontiguousarray(images[:: max(1, len(images) // 500)])
    known = {
        "shape": list(images.shape),
        "dtype": str(images.dtype),
        "crc32_of_some": zlib.crc32(sample),  # type: ignore[arg-type]
    }
    if data.labels is not None:
        names = json.dumps(data.class_names).encode()
        known["crc32_of_labels"] = zlib.crc32(data.labels.tobytes() + names)
    return known


def _num_validation(images):
    return min(NUM_VALIDATION_IMAGES, len(images) // 10)


def _split(images):
    if _num_validation(images) == 0:
        return None, None
    return datasets.hold_out(images, _num_validation(images))
