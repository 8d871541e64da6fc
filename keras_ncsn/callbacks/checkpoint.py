"""Checkpoints: a stopped run resumes as if it had never stopped."""

import pathlib
from typing import Any

import keras
import numpy as np

from keras_ncsn.annotations import StrPath
from keras_ncsn.callbacks.every_steps import EverySteps
from keras_ncsn.callbacks.training_state import (
    STATE_FILE,
    load_state,
    save_state,
)
from keras_ncsn.files import check_no_links, remove_leftovers
from keras_ncsn.parallel import is_main_process
from keras_ncsn.presets import recovery, saving


class Checkpoint(EverySteps):
    """Saves everything that a run needs to resume bit for bit.

    The file `state.npz` in the folder holds the weights, their average, the
    optimizer and the seeds. The preset `last` beside it is for all other uses.
    Both are written at regular steps, and when `fit` ends or is stopped. Each
    is written completely or not at all.

    On PyTorch, your own dropout layers need a `seed`. Without one, Keras draws
    from PyTorch's global state, which a checkpoint does not hold.

    Args:
        folder: Path of the run's folder.
        every: Integer, at least 1, the number of steps between checkpoints.
        metadata: Dictionary for the metadata of the preset; `steps` is added
            to it. Defaults to `None`.

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

    # `NCSNModel.fit` calls it after the other callbacks, because a resumed run
    # needs the row of the checkpoint's step in the log.
    goes_last = True

    def __init__(
        self,
        folder: StrPath,
        every: int,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(every)
        self.folder = pathlib.Path(folder)
        self.metadata = metadata or {}
        saving.check_metadata(metadata)
        self.saved = 0
        self.running_loss: list[np.ndarray] | None = None

    def restore(self, model: Any) -> int:
        """Restores a model from the last checkpoint, if there is one.

        Args:
            model: A compiled `NCSNModel`, built as at the start of the run.

        Returns:
            Integer, the number of steps taken; 0 without a checkpoint.
        """
        if not model.compiled:
            raise ValueError(
                "`model` must be compiled before it is restored. Received: a "
                "model without an optimizer. Call `model.compile()` first."
            )
        path = self.folder / STATE_FILE
        model.steps_taken = 0
        if path.exists():
            model.steps_taken = self.saved = load_state(model, path)
            self.running_loss = [
                keras.ops.convert_to_numpy(variable.value)
                for variable in model.loss_tracker.variables
            ]
        return model.steps_taken

    def on_epoch_begin(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        if self.running_loss is not None:
            # Keras has just reset the running loss.
            variables = self.model.loss_tracker.variables
            for variable, value in zip(
                variables, self.running_loss, strict=True
            ):
                variable.assign(value)
            self.running_loss = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        if not is_main_process():
            return
        check_no_links(self.folder, ["last", STATE_FILE])
        self.folder.mkdir(parents=True, exist_ok=True)
        recovery.check_place(self.folder / "last")
        recovery.recover(self.folder / "last")
        remove_leftovers(self.folder / STATE_FILE)

    def on_step(self, step: int, logs: dict[str, Any] | None) -> None:
        self.saved = step
        if not is_main_process():
            return
        model = self.model
        metadata = self.metadata | {"steps": step}
        model.save_to_preset(self.folder / "last", metadata=metadata)
        # The state is written last. If a run is killed before that, it repeats
        # the steps since the previous state.
        save_state(model, self.folder / STATE_FILE, step)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self.saved != self.step:
            self.on_step(self.step, logs)
