"""The loss on held-out images, with fixed noise, to compare runs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_ncsn.images import to_floats
from keras_ncsn.samplers.noise_stream import NoiseStream
from keras_ncsn.text import one_line
from keras_ncsn.training import losses, step


def validation_losses(
    model: Any,
    images: np.ndarray,
    sigmas: Sequence[float] | np.ndarray,
    seed: int = 0,
    batch_size: int = 64,
    condition: Any = None,
) -> np.ndarray:
    """Returns the mean loss of images at each noise level.

    It is the loss of denoising score matching, weighted as in training, with
    the averaged weights if the model keeps them. The noise depends only on the
    seed, the image and the level, and is the same on every backend.

    Args:
        model: An `NCSNModel`.
        images: Array of shape `(num_images, ...)`, uint8 or floats as for
            `fit`.
        sigmas: Sequence of floats, within the schedule.
        seed: Integer, at least 0. Defaults to `0`.
        batch_size: Integer. Defaults to `64`.
        condition: Labels or vectors of the images, as for `fit`. Defaults to
            `None`, the loss of the unconditional score.

    Returns:
        A float64 array of shape `(len(sigmas),)`.
    """
    if condition is not None and model.condition is None:
        raise ValueError(
            "`condition` must be left out for a model whose network takes "
            f"none. Received: condition={one_line(repr(condition), 50)}"
        )
    images = to_floats(images, model.value_range)
    images = np.asarray(model.to_sampled(images), "float32")
    given = {}
    if condition is not None:
        given[model.condition.argument] = condition
    stream = NoiseStream(seed, 0, images.shape)
    means = []
    for sigma in sigmas:
        noise = stream.normal()
        level = np.full(len(images), sigma, "float32")
        noisy = model.schedule.perturb(images, level, noise)
        score = model.score(
            ops.convert_to_numpy(noisy), level, batch_size, **given
        )
        scale = float(model.schedule.noise_scale(sigma))
        loss = losses.denoising_score_matching(scale * score, noise)
        loss = np.mean(ops.convert_to_numpy(loss), dtype="float64")
        means.append(step.level_weight(model, float(sigma)) * loss)
    return np.array(means)
