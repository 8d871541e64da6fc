"""The loss on images held out, at fixed noise, so that curves compare."""

import statistics

import numpy as np
from keras import ops

from keras_ncsn import losses, training
from keras_ncsn.images import to_floats
from keras_ncsn.samplers.noise_stream import NoiseStream


def validation_sigmas(model, num_sigmas=10):
    """Returns noise levels that stand for those of training.

    They have equal shares of the distribution that training draws from, so
    the mean of their losses estimates the mean in training.

    Args:
        model: An `NCSNModel`.
        num_sigmas: Integer, at least 1. Defaults to `10`.

    Returns:
        A float64 array of shape `(num_sigmas,)`, largest first.

    Example:

    >>> network = keras_ncsn.networks.MLP(width=8)
    >>> model = keras_ncsn.NCSNModel(network, value_range=None)
    >>> [round(float(sigma), 2) for sigma in validation_sigmas(model, 5)]
    [0.6, 0.22, 0.08, 0.03, 0.01]
    """
    schedule = model.schedule
    shares = (np.arange(num_sigmas) + 0.5) / num_sigmas
    if model.sigma_distribution == "ladder":
        levels = np.floor(shares * schedule.num_levels).astype(int)
        return schedule.sigmas[levels]
    low, high = np.log(schedule.sigma_min), np.log(schedule.sigma_max)
    if model.sigma_distribution == "log_uniform":
        return np.exp(high + shares * (low - high))
    normal = statistics.NormalDist(model.log_sigma_mean, model.log_sigma_std)
    logs = [normal.inv_cdf(1.0 - share) for share in shares]
    return np.exp(np.clip(logs, low, high))


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
        scale = float(model.schedule.scale(sigma)) * float(sigma)
        loss = losses.denoising_score_matching(scale * score, noise)
        loss = np.mean(ops.convert_to_numpy(loss), dtype="float64")
        means.append(training.level_weight(model, float(sigma)) * loss)
    return np.array(means)
