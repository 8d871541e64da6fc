"""What happens beside training: presets are saved."""

import keras

from keras_ncsn import presets


class SavePreset(keras.callbacks.Callback):
    """Saves the model as a preset after each epoch.

    A crash leaves the last preset whole.

    Args:
        folder: Path, see `NCSNModel.save_to_preset`.
        metadata: Dictionary, kept in the preset; `steps` is added to it.
            Defaults to `None`.

    Example:

    >>> callback = SavePreset("runs/mnist")  # for `model.fit(callbacks=...)`
    """

    def __init__(self, folder, metadata=None):
        super().__init__()
        self.folder = folder
        self.metadata = metadata or {}

    def on_train_begin(self, logs=None):
        presets.check_folder(self.folder)

    def on_epoch_end(self, epoch, logs=None):
        self.model.save_to_preset(
            self.folder,
            metadata=self.metadata
            | {"steps": int(self.model.optimizer.iterations)},
        )
