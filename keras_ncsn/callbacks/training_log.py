"""The log of a run, its held-out losses, and its best preset."""

import pathlib
import time

import keras
import numpy as np

from keras_ncsn.callbacks.every_steps import EverySteps, training_clock
from keras_ncsn.callbacks.log_file import (
    LOG_FILE,
    append_row,
    read_log,
    write_log,
)
from keras_ncsn.checks import check_images
from keras_ncsn.files import check_no_links, remove_leftovers
from keras_ncsn.parallel import is_main_process
from keras_ncsn.presets import saving
from keras_ncsn.training.noise_levels import sigma_quantiles
from keras_ncsn.training.validation import validation_losses

# Noise levels at which the log has held-out losses.
NUM_SIGMAS = 10


class TrainingLog(EverySteps):
    """Writes a row of `log.csv` every so many steps, and keeps the best.

    A row has the mean loss since the row before (or since the epoch began, if
    that was later), what the time and the learning rate were, and images per
    second of training: pictures, checkpoints and validation do not count.
    Every `validate_every` steps, and at the last, it also has the loss on
    images held out, at fixed noise levels and for a fixed seed; where that is
    the lowest so far, the model is saved as the preset `best`.

    Args:
        folder: Path of the run's folder.
        every: Integer, at least 1, steps between rows.
        batch_size: Integer, images a step.
        validation_images: Array of images held out. Defaults to `None`.
        validate_every: Integer, a multiple of `every`. Defaults to `None`,
            never; else there must be `validation_images`.
        metadata: As in `Checkpoint`.
        on_row: Function that is called with each row, a dictionary. Defaults
            to `None`.
    """

    def __init__(
        self,
        folder,
        every,
        batch_size,
        validation_images=None,
        validate_every=None,
        metadata=None,
        on_row=None,
    ):
        super().__init__(every)
        if validate_every is not None and validate_every % every:
            raise ValueError(
                "`validate_every` must be a multiple of `every`, because "
                "losses are written into rows. Received: validate_every="
                f"{validate_every}, every={every}"
            )
        if validate_every is not None and validation_images is None:
            raise ValueError(
                "`validation_images` must be given with `validate_every`. "
                f"Received: validate_every={validate_every}, and no images"
            )
        self.folder = pathlib.Path(folder)
        self.batch_size = batch_size
        self.validation_images = validation_images
        self.validate_every = validate_every
        self.metadata = metadata or {}
        saving.check_metadata(metadata)
        self.on_row = on_row or (lambda row: None)

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        if self.validation_images is not None:
            check_images(
                np.asarray(keras.ops.convert_to_numpy(self.validation_images)),
                self.model.image_shape,
                self.model.value_range,
                name="validation_images",
            )
        if is_main_process():
            check_no_links(self.folder, ["best", LOG_FILE])
            self.folder.mkdir(parents=True, exist_ok=True)
            saving.recover(self.folder / "best")
            remove_leftovers(self.folder / LOG_FILE)
        rows = read_log(self.folder / LOG_FILE, needed=("step", "seconds"))
        # Later rows are of a run that was killed, and come again.
        self.fit_start = self.step
        self.rows = [row for row in rows if int(row["step"]) <= self.step]
        losses = [row.get("validation_loss") for row in self.rows]
        self.best_loss = min(
            (float(loss) for loss in losses if loss), default=float("inf")
        )
        seconds = float(self.rows[-1]["seconds"]) if self.rows else 0.0
        self.began = time.monotonic() - seconds
        self.row_began = training_clock(), self.step
        self.row_is_whole = (
            bool(self.rows) and int(self.rows[-1]["step"]) == self.step
        )
        self.sigmas = sigma_quantiles(self.model, NUM_SIGMAS)
        if is_main_process():
            write_log(self.folder / LOG_FILE, self._columns(), self.rows)

    def on_train_batch_begin(self, batch, logs=None):
        # Not when the row was written: at the end of an epoch Keras reads the
        # loss once more.
        if self.row_is_whole:
            self.model.reset_metrics()
            self.row_is_whole = False

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if self._is_last(self.step) and self.row_began[1] != self.step:
            self.on_step(self.step, logs)

    def on_step(self, step, logs):
        model = self.model
        now, (then, first) = training_clock(), self.row_began
        self.row_began = now, step
        row = {
            "step": step,
            "images": step * self.batch_size,
            "seconds": round(time.monotonic() - self.began, 1),
            "images_per_second": round(
                (step - first) * self.batch_size / (now - then), 2
            ),
            "learning_rate": float(
                keras.ops.convert_to_numpy(model.optimizer.learning_rate)
            ),
            "loss": float(
                keras.ops.convert_to_numpy(model.loss_tracker.result())
            ),
        }
        self.row_is_whole = True
        if not is_main_process():
            return
        every = self.validate_every
        if every and (step // every > first // every or self._is_last(step)):
            row |= self._validate(step)
        self.rows.append(row)
        append_row(self.folder / LOG_FILE, self._columns(), row)
        self.on_row(row)

    def _is_last(self, step):
        steps = self.params.get("steps")
        return steps and step == self.fit_start + steps * self.params["epochs"]

    def _validate(self, step):
        losses = validation_losses(
            self.model, self.validation_images, self.sigmas
        )
        mean = float(np.mean(losses))
        if mean < self.best_loss:
            self.best_loss = mean
            self.model.save_to_preset(
                self.folder / "best",
                metadata=self.metadata
                | {"steps": step, "validation_loss": mean},
            )
        names = self._columns()[-len(losses) :]
        return {"validation_loss": mean} | dict(
            zip(names, losses.tolist(), strict=True)
        )

    def _columns(self):
        return [
            "step",
            "images",
            "seconds",
            "images_per_second",
            "learning_rate",
            "loss",
            "validation_loss",
            *(f"loss_at_{sigma:.4g}" for sigma in self.sigmas),
        ]
