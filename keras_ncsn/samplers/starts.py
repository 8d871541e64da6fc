"""The noise from which samplers start."""

import numpy as np

from keras_ncsn.samplers.noise_stream import NoiseStream


def uniform_start(
    noise: NoiseStream,
    value_range: tuple[float, float] | None,
    sigma_max: float,
) -> np.ndarray:
    """Returns uniform noise in the range of the images, as NCSN starts from.

    Args:
        noise: As in `Sampler.sample`.
        value_range: As in `Sampler.sample`. Without a range the noise is
            normal, around 0.
        sigma_max: Float, the largest noise level, the spread of the normal
            noise.

    Returns:
        A float32 array of shape `noise.shape`.
    """
    if value_range is None:
        return noise.normal() * sigma_max
    low, high = np.asarray(value_range, "float32")
    return low + (high - low) * noise.uniform()


def normal_start(
    noise: NoiseStream,
    value_range: tuple[float, float] | None,
    spread: float,
) -> np.ndarray:
    """Returns normal noise around the middle of the range of the images.

    Args:
        noise: As in `Sampler.sample`.
        value_range: As in `Sampler.sample`. Without a range the middle is 0.
        spread: Float, the standard deviation.

    Returns:
        A float32 array of shape `noise.shape`.

    Example:

    >>> noise = NoiseStream(seed=0, first=0, shape=(1, 2))
    >>> normal_start(noise, (0.0, 1.0), spread=0.0).tolist()
    [[0.5, 0.5]]
    """
    # Without the casts NumPy, and then PyTorch, would compute in float64.
    middle = 0.0 if value_range is None else sum(value_range) / 2
    return np.float32(middle) + np.float32(spread) * noise.normal()
