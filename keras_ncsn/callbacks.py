"""What happens beside training: checkpoints, presets, logs, pictures.

All count steps, from `start`, the step at which they began; a run that was
stopped goes on as if it never was. Of several processes all count, and the
main one writes.
"""

import pathlib
import time

import keras
import numpy as np

from keras_ncsn import saving
from keras_ncsn.checks import check_count, check_images
from keras_ncsn.files import check_no_links, remove_leftovers
from keras_ncsn.images import check_drawable, save_grid, to_unit_range
from keras_ncsn.log_file import LOG_FILE, append_row, read_log, write_log
from keras_ncsn.noise_levels import sigma_quantiles
from keras_ncsn.parallel import is_main_process
from keras_ncsn.training_state import load_state, save_state
from keras_ncsn.validation import validation_losses

STATE_FILE = "state.npz"
# Noise levels at which the log has held-out losses.
NUM_SIGMAS = 10


class EverySteps(keras.callbacks.Callback):
    """Calls `on_step(step, logs)` every so many steps.

    Args:
        every: Integer, at least 1.
        start: Integer, the steps taken before this `fit`. Defaults to `0`.
    """

    # Of all such callbacks together: what `training_clock` leaves out.
    seconds_beside = 0.0

    def __init__(self, every, start=0):
        super().__init__()
        check_count(every=every)
        self.every = every
        self.start = start
        self.step = start

    def on_epoch_begin(self, epoch, logs=None):
        # Keras counts batches anew in each epoch.
        self.epoch_start = self.step

    def on_train_batch_end(self, batch, logs=None):
        # `batch` is the last of several where a call executes several steps.
        before, self.step = self.step, self.epoch_start + batch + 1
        if self.step // self.every > before // self.every:
            began = time.monotonic()
            self.on_step(self.step, logs)
            EverySteps.seconds_beside += time.monotonic() - began

    def on_step(self, step, logs):
        raise NotImplementedError


def training_clock():
    """Returns seconds, of which none pass while an `EverySteps` is at work.

    Returns:
        A float; only differences mean something.
    """
    return time.monotonic() - EverySteps.seconds_beside


class Checkpoint(EverySteps):
    """Saves all that a run needs to go on, to the last bit.

    `state.npz` in the folder has the weights, their average, the optimizer
    and the seeds; the preset `last` beside it is for everyone else. Both are
    written every so many steps and when `fit` ends or is told to stop, whole
    or not at all. On PyTorch, dropout layers of your own need a `seed`:
    without one Keras draws from PyTorch's global state, which is not kept.

    Args:
        folder: Path of the run's folder.
        every: Integer, at least 1, steps between checkpoints.
        metadata: Dictionary, kept in the preset; `steps` is added to it.
            Defaults to `None`.

    Example:

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> network = keras_ncsn.networks.MLP(width=8)
    >>> model = keras_ncsn.NCSNModel(network, value_range=None, seed=0)
    >>> model.compile()
    >>> points = np.zeros((64, 2), "float32")
    >>> def train_until(steps):
    ...     checkpoint = Checkpoint(folder, every=10)
    ...     start = checkpoint.restore(model)
    ...     batches = keras_ncsn.datasets.shuffled_batches(
    ...         points, batch_size=8, seed=0, start=start
    ...     )
    ...     model.fit(
    ...         batches,
    ...         steps_per_epoch=steps - start,
    ...         callbacks=checkpoint,
    ...         verbose=0,
    ...     )
    ...     return start
    >>> [train_until(4), train_until(8)]
    [0, 4]
    """

    def __init__(self, folder, every, metadata=None):
        super().__init__(every)
        self.folder = pathlib.Path(folder)
        self.metadata = metadata or {}
        saving.check_metadata(metadata)
        self.saved = 0
        self.running_loss = None

    def restore(self, model):
        """Puts a model back where the last checkpoint found it.

        Args:
            model: A compiled `NCSNModel`, made as at the start of the run.

        Returns:
            Integer, how many steps had been taken; 0 without a checkpoint.
        """
        if not model.compiled:
            raise ValueError(
                "`model` must be compiled before it is restored. Received: one "
                "without an optimizer"
            )
        path = self.folder / STATE_FILE
        if path.exists():
            self.start = self.step = self.saved = load_state(model, path)
            self.running_loss = [
                keras.ops.convert_to_numpy(variable.value)
                for variable in model.loss_tracker.variables
            ]
        return self.start

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        if self.running_loss is not None:
            # Keras has just set it to zero.
            variables = self.model.loss_tracker.variables
            for variable, value in zip(
                variables, self.running_loss, strict=True
            ):
                variable.assign(value)
            self.running_loss = None

    def on_train_begin(self, logs=None):
        if not is_main_process():
            return
        check_no_links(self.folder, ["last", STATE_FILE])
        self.folder.mkdir(parents=True, exist_ok=True)
        saving.recover(self.folder / "last")
        saving.check_folder(self.folder / "last")
        remove_leftovers(self.folder / STATE_FILE)

    def on_step(self, step, logs):
        self.saved = step
        if not is_main_process():
            return
        model = self.model
        metadata = self.metadata | {"steps": step}
        model.save_to_preset(self.folder / "last", metadata=metadata)
        # After the preset: a run killed between the two does the step again.
        save_state(model, self.folder / STATE_FILE, step)

    def on_train_end(self, logs=None):
        if self.saved != self.step:
            self.on_step(self.step, logs)


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
        start: Integer, what `Checkpoint.restore` returned; later rows of a
            run that was killed are taken out. Defaults to `0`.
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
        start=0,
        validation_images=None,
        validate_every=None,
        metadata=None,
        on_row=None,
    ):
        super().__init__(every, start)
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
        rows = read_log(self.folder / LOG_FILE)
        # The same callback may log one `fit` after another.
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


class SamplePictures(EverySteps):
    """Saves a picture of new images every so many steps.

    Always of the same seed, so that one sees them change.

    Args:
        folder: Path of the folder of the pictures.
        every: Integer, at least 1.
        start: As in `TrainingLog`.
        num_images: Integer, images in a picture. Defaults to `16`.
        on_picture: Function that is called with the step and the images, in
            [0, 1] whatever their `value_range`. Defaults to `None`.
    """

    def __init__(self, folder, every, start=0, num_images=16, on_picture=None):
        super().__init__(every, start)
        self.folder = pathlib.Path(folder)
        self.num_images = num_images
        self.on_picture = on_picture or (lambda step, images: None)

    @staticmethod
    def check(model):
        """Raises a `ValueError` unless pictures can be made of its images.

        Args:
            model: An `NCSNModel`.
        """
        check_drawable(
            model.image_shape,
            model.value_range,
            "Train without `SamplePictures` (--sample-every 0).",
        )

    def on_train_begin(self, logs=None):
        self.check(self.model)

    def on_step(self, step, logs):
        # Who asked to stop does not want to wait for pictures.
        if not is_main_process() or self.model.stop_training:
            return
        images = self.model.generate(self.num_images, seed=0, verbose=0)
        images = to_unit_range(images, self.model.value_range)
        self.folder.mkdir(parents=True, exist_ok=True)
        save_grid(images, self.folder / f"{step:07d}.png")
        self.on_picture(step, images)
