"""The noise levels of training: random ones, and quantiles for validation."""

import math
import statistics
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ncsn.annotations import Tensor

DISTRIBUTIONS = ("ladder", "log_uniform", "log_normal")


def draw_sigmas(model: Any, num_images: Tensor) -> Tensor:
    """Returns random noise levels for training.

    Args:
        model: An `NCSNModel`.
        num_images: Integer, or a scalar tensor.

    Returns:
        A float32 tensor of shape `(num_images,)`.
    """
    schedule, seed = model.schedule, model.seed_generator
    low, high = _log_ends(schedule)
    if model.sigma_distribution == "ladder":
        level = keras.random.randint(
            (num_images,), 0, schedule.num_levels, seed=seed
        )
        ladder = ops.convert_to_tensor(schedule.sigmas.astype("float32"))
        return ops.take(ladder, level)
    if model.sigma_distribution == "log_uniform":
        return ops.exp(
            keras.random.uniform((num_images,), low, high, seed=seed)
        )
    log_sigma = keras.random.normal(
        (num_images,), model.log_sigma_mean, model.log_sigma_std, seed=seed
    )
    return ops.exp(ops.clip(log_sigma, low, high))


def sigma_quantiles(model: Any, num_sigmas: int) -> np.ndarray:
    """Returns noise levels that represent the distribution in training.

    The distribution is divided into equal shares, and the noise levels are the
    medians of the shares. So the mean of their losses estimates the mean loss
    in training.

    Args:
        model: An `NCSNModel`.
        num_sigmas: Integer, at least 1.

    Returns:
        A float64 array of shape `(num_sigmas,)`, largest first.

    Example:

    >>> network = keras_ncsn.networks.MLP(width=8)
    >>> model = keras_ncsn.NCSNModel(network, value_range=None)
    >>> [round(float(sigma), 2) for sigma in sigma_quantiles(model, 5)]
    [0.6, 0.22, 0.08, 0.03, 0.01]
    """
    schedule = model.schedule
    low, high = _log_ends(schedule)
    shares = (np.arange(num_sigmas) + 0.5) / num_sigmas
    if model.sigma_distribution == "ladder":
        levels = np.floor(shares * schedule.num_levels).astype(int)
        return schedule.sigmas[levels]
    if model.sigma_distribution == "log_uniform":
        return np.exp(high + shares * (low - high))
    normal = statistics.NormalDist(model.log_sigma_mean, model.log_sigma_std)
    logs = [normal.inv_cdf(1.0 - share) for share in shares]
    return np.exp(np.clip(logs, low, high))


def _log_ends(schedule):
    return math.log(schedule.sigma_min), math.log(schedule.sigma_max)
