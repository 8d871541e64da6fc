"""The loss on images held out, at fixed noise, so that curves compare."""

import numpy as np
from keras import ops

from keras_ncsn.images import to_floats
from keras_ncsn.samplers.noise_stream import NoiseStream
from keras_ncsn.training import losses, step


def validation_losses(model, images, sigmas, seed=0, batch_size=64):
    """Returns the mean loss of images at each noise level.

    It is denoising score matching with the averaged weights if kept, weighted
    as in training. The noise depends on the seed, the image and the level
    alone, and is the same on every backend.

    Args:
        model: An `NCSNModel`.
        images: Array of shape `(num_images, ...)`, uint8 or floats as for
            `fit`.
        sigmas: Sequence of floats, within the schedule.
        seed: Integer, at least 0. Defaults to `0`.
        batch_size: Integer. Defaults to `64`.

    Returns:
        A float64 array of shape `(len(sigmas),)`.
    """
    images = to_floats(images, model.value_range)
    images = np.asarray(model.to_sampled(images), "float32")
    stream = NoiseStream(seed, 0, images.shape)
    means = []
    for sigma in sigmas:
        noise = stream.normal()
        level = np.full(len(images), sigma, "float32")
        noisy = model.schedule.perturb(images, level, noise)
        score = model.score(ops.convert_to_numpy(noisy), level, batch_size)
        scale = float(model.schedule.noise_scale(sigma))
        loss = losses.denoising_score_matching(scale * score, noise)
        loss = np.mean(ops.convert_to_numpy(loss), dtype="float64")
        means.append(step.level_weight(model, float(sigma)) * loss)
    return np.array(means)
