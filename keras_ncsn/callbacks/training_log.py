"""The log of a run, its held-out losses, and its best preset."""

import pathlib
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_ncsn.annotations import StrPath
from keras_ncsn.callbacks.every_steps import EverySteps, training_clock
from keras_ncsn.callbacks.log_file import (
    COLUMNS,
    LOG_FILE,
    UNCONDITIONAL,
    append_row,
    read_log,
    summarize,
    write_log,
)
from keras_ncsn.checks import check_images
from keras_ncsn.files import check_no_links, remove_leftovers
from keras_ncsn.parallel import is_main_process
from keras_ncsn.presets import recovery, saving
from keras_ncsn.training.noise_levels import sigma_quantiles
from keras_ncsn.training.validation import validation_losses

# The number of noise levels at which the log has held-out losses.
NUM_SIGMAS = 10


class TrainingLog(EverySteps):
    """Writes rows of `log.csv` at regular steps, and saves the best preset.

    A row holds the mean loss since the previous row (or since the start of the
    epoch, if that was later), the elapsed time, the learning rate, and images
    per second of training. This rate leaves out the time for pictures,
    checkpoints and validation. Every `validate_every` steps, and after the last
    step, the row also holds the loss on held-out images, at fixed noise levels
    and for a fixed seed. If this loss is the lowest so far, the model is saved
    as the preset `best`.

    For a model with a condition, the held-out loss uses the conditions of the
    images. If the model also knows the unconditional score, the column
    `unconditional_loss` holds the held-out loss of that score.

    Args:
        folder: Path of the run's folder.
        every: Integer, at least 1, the number of steps between rows.
        batch_size: Integer, the number of images per step.
        validation_images: Array of held-out images. Required with
            `validate_every`. Defaults to `None`.
        validate_every: Integer, a multiple of `every`, the number of steps
            between validations. Defaults to `None`, no validation.
        metadata: As in `Checkpoint`.
        on_row: Function that is called with each row, a dictionary. Defaults
            to `None`.
        validation_condition: Labels or vectors of the held-out images, if the
            model takes them. Defaults to `None`.
    """

    def __init__(
        self,
        folder: StrPath,
        every: int,
        batch_size: int,
        validation_images: np.ndarray | None = None,
        validate_every: int | None = None,
        metadata: dict[str, Any] | None = None,
        on_row: Callable[[dict[str, Any]], object] | None = None,
        validation_condition: Any = None,
    ) -> None:
        super().__init__(every)
        if validate_every is not None and validate_every % every:
            raise ValueError(
                "`validate_every` must be a multiple of `every`, because its "
                "losses are part of a row. Received: validate_every="
                f"{validate_every}, every={every}"
            )
        if validate_every is not None and validation_images is None:
            raise ValueError(
                "`validation_images` must be given with `validate_every`. "
                f"Received: validate_every={validate_every}, "
                "validation_images=None"
            )
        self.folder = pathlib.Path(folder)
        self.batch_size = batch_size
        self.validation_images: Any = validation_images
        self.validation_condition = validation_condition
        self.validate_every = validate_every
        self.metadata = metadata or {}
        saving.check_metadata(metadata)
        self.on_row = on_row or (lambda row: None)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        if self.validation_images is not None:
            check_images(
                np.asarray(keras.ops.convert_to_numpy(self.validation_images)),
                self.model.image_shape,
                self.model.value_range,
                name="validation_images",
            )
            self._check_condition()
        if is_main_process():
            check_no_links(self.folder, ["best", LOG_FILE])
            self.folder.mkdir(parents=True, exist_ok=True)
            if self.validate_every is not None:
                recovery.check_place(self.folder / "best")
            recovery.recover(self.folder / "best")
            remove_leftovers(self.folder / LOG_FILE)
        self.sigmas = sigma_quantiles(self.model, NUM_SIGMAS)
        kept = summarize(self._kept_rows())
        self.fit_start = self.step
        self.best_loss = kept.best_loss
        self.began = time.monotonic() - kept.seconds
        self.row_began = training_clock(), self.step
        self.row_is_whole = kept.last_step == self.step
        if is_main_process():
            write_log(
                self.folder / LOG_FILE, self._columns(), self._kept_rows()
            )

    def on_train_batch_begin(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        # Not directly after the row, because Keras reads the loss again at the
        # end of an epoch.
        if self.row_is_whole:
            self.model.reset_metrics()
            self.row_is_whole = False

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        super().on_train_batch_end(batch, logs)
        if self._is_last(self.step) and self.row_began[1] != self.step:
            self.on_step(self.step, logs)

    def on_step(self, step: int, logs: dict[str, Any] | None) -> None:
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
        append_row(self.folder / LOG_FILE, self._columns(), row)
        self.on_row(row)

    def _check_condition(self):
        condition, given = self.model.condition, self.validation_condition
        if condition is None:
            self.validation_condition = None
        elif given is None:
            raise ValueError(
                "`validation_condition` must hold the "
                f"{condition.argument} of the held-out images. Received: "
                "validation_condition=None"
            )
        else:
            self.validation_condition = condition.checked(
                keras.ops.convert_to_numpy(given), len(self.validation_images)
            )

    def _kept_rows(self):
        # Later rows are from a run that was killed. This run writes them again.
        rows = read_log(self.folder / LOG_FILE, columns=self._columns())
        return (row for row in rows if int(row["step"]) <= self.step)

    def _is_last(self, step):
        steps = self.params.get("steps")
        return steps and step == self.fit_start + steps * self.params["epochs"]

    def _validate(self, step):
        images, condition = self.validation_images, self.validation_condition
        losses = validation_losses(
            self.model, images, self.sigmas, condition=condition
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
        row = {"validation_loss": mean}
        if self.model.has_unconditional:
            unconditional = validation_losses(self.model, images, self.sigmas)
            row[UNCONDITIONAL] = float(np.mean(unconditional))
        return row | dict(zip(names, losses.tolist(), strict=True))

    def _columns(self):
        columns = [*COLUMNS]
        if self.model.has_unconditional:
            columns.append(UNCONDITIONAL)
        return [*columns, *(f"loss_at_{sigma:.4g}" for sigma in self.sigmas)]
