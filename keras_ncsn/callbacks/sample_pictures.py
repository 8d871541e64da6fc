"""Pictures of new images during training."""

import pathlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_ncsn.annotations import StrPath
from keras_ncsn.callbacks.every_steps import EverySteps
from keras_ncsn.images import check_drawable, save_grid, to_unit_range
from keras_ncsn.parallel import is_main_process


class SamplePictures(EverySteps):
    """Saves pictures of new images at regular steps.

    The seed is always the same, so that one sees how the images change. If
    sampling diverges, there is a warning instead of a picture.

    Args:
        folder: Path of the folder for the pictures.
        every: Integer, at least 1, the number of steps between pictures.
        num_images: Integer, the number of images in a picture. Defaults to
            `16`.
        on_picture: Function that is called with the step and the images, which
            are in [0, 1] whatever the `value_range`. Defaults to `None`.
    """

    def __init__(
        self,
        folder: StrPath,
        every: int,
        num_images: int = 16,
        on_picture: Callable[[int, np.ndarray], object] | None = None,
    ) -> None:
        super().__init__(every)
        self.folder = pathlib.Path(folder)
        self.num_images = num_images
        self.on_picture = on_picture or (lambda step, images: None)

    @staticmethod
    def check(model: Any) -> None:
        """Raises a `ValueError` if pictures cannot show the model's images.

        Args:
            model: An `NCSNModel`.
        """
        check_drawable(
            model.image_shape,
            model.value_range,
            "Train without `SamplePictures` (--sample-every 0).",
        )
        if model.needs_conditions:
            raise ValueError(
                "Pictures of a model that takes vectors need a "
                "`condition_dropout` above 0, because they are drawn without "
                "a vector. Received: condition_dropout=0. Train without "
                "`SamplePictures` (--sample-every 0)."
            )

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        super().on_train_begin(logs)
        self.check(self.model)

    def on_step(self, step: int, logs: dict[str, Any] | None) -> None:
        # A user who stops training does not want to wait for pictures.
        if not is_main_process() or self.model.stop_training:
            return
        try:
            images = self.model.generate(self.num_images, seed=0, verbose=0)
        except FloatingPointError as error:
            # Early in training the score may be far too large.
            warnings.warn(f"No picture of step {step}. {error}", stacklevel=2)
            return
        images = to_unit_range(images, self.model.value_range)
        self.folder.mkdir(parents=True, exist_ok=True)
        save_grid(images, self.folder / f"{step:07d}.png")
        self.on_picture(step, images)
