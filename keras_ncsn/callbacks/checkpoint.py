"""Checkpoints: a run that stopped resumes as if it never had."""

import pathlib

import keras

from keras_ncsn.callbacks.every_steps import EverySteps
from keras_ncsn.callbacks.training_state import (
    STATE_FILE,
    load_state,
    save_state,
)
from keras_ncsn.files import check_no_links, remove_leftovers
from keras_ncsn.parallel import is_main_process
from keras_ncsn.presets import format, saving


class Checkpoint(EverySteps):
    """Saves all that a run needs to resume, to the last bit.

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

    # `fit` calls it after the others: it counts on the row of the log.
    goes_last = True

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
        model.steps_taken = 0
        if path.exists():
            model.steps_taken = self.saved = load_state(model, path)
            self.running_loss = [
                keras.ops.convert_to_numpy(variable.value)
                for variable in model.loss_tracker.variables
            ]
        return model.steps_taken

    def on_epoch_begin(self, epoch, logs=None):
        if self.running_loss is not None:
            # Keras has just set it to zero.
            variables = self.model.loss_tracker.variables
            for variable, value in zip(
                variables, self.running_loss, strict=True
            ):
                variable.assign(value)
            self.running_loss = None

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        if not is_main_process():
            return
        check_no_links(self.folder, ["last", STATE_FILE])
        self.folder.mkdir(parents=True, exist_ok=True)
        saving.recover(self.folder / "last")
        format.check_folder(self.folder / "last")
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
