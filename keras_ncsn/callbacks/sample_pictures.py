"""Pictures of new images, while training runs."""

import pathlib

from keras_ncsn.callbacks.every_steps import EverySteps
from keras_ncsn.images import check_drawable, save_grid, to_unit_range
from keras_ncsn.parallel import is_main_process


class SamplePictures(EverySteps):
    """Saves a picture of new images every so many steps.

    Always of the same seed, so that one sees them change.

    Args:
        folder: Path of the folder of the pictures.
        every: Integer, at least 1.
        num_images: Integer, images in a picture. Defaults to `16`.
        on_picture: Function that is called with the step and the images, in
            [0, 1] whatever their `value_range`. Defaults to `None`.
    """

    def __init__(self, folder, every, num_images=16, on_picture=None):
        super().__init__(every)
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
        super().on_train_begin(logs)
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
