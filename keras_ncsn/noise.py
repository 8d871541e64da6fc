"""Noise schedules: which noise levels there are, and how an image gets them.

An image x at noise level sigma is a(sigma) * (x + sigma * z), z standard
normal. Two choices of the scale a are in use. Variance exploding (NCSN): a is
1, the noisy image grows with sigma. Variance preserving (DDPM): a is
1 / sqrt(1 + sigma**2), the noisy image keeps the spread of the images, which
then lie in [-1, 1].
"""

import keras
import numpy as np
from keras import ops

from keras_ncsn.checks import check_count, check_ladder_ends


def geometric_sigmas(sigma_max=1.0, sigma_min=0.01, num_levels=10):
    """Returns noise levels evenly spaced in log scale, largest first.

    The network is trained at every level and the annealed sampler visits them
    in order. A constant ratio keeps the overlap of neighbouring levels
    constant.

    Args:
        sigma_max: Float, the largest noise level. Defaults to `1.0`.
        sigma_min: Float, the smallest noise level, above 0. Defaults to
            `0.01`.
        num_levels: Integer, at least 2. Defaults to `10`, as in NCSN.

    Returns:
        A float64 NumPy array of shape `(num_levels,)`.

    Example:

    >>> [round(float(sigma), 4) for sigma in geometric_sigmas(num_levels=3)]
    [1.0, 0.1, 0.01]

    Reference:

    - [Song and Ermon, 2019](https://arxiv.org/abs/1907.05600), Section 5.
    """
    # Annealing needs a first and a last noise level.
    check_count(least=2, num_levels=num_levels)
    check_ladder_ends(sigma_max, sigma_min)
    sigmas = np.exp(
        np.linspace(np.log(sigma_max), np.log(sigma_min), num_levels)
    )
    sigmas[0], sigmas[-1] = sigma_max, sigma_min
    return sigmas


def variance_preserving_sigmas(beta_min=1e-4, beta_max=0.02, num_levels=1000):
    """Returns the noise levels of DDPM's linear beta schedule, largest first.

    With alpha_bar the running product of 1 - beta, the noise level relative to
    the image is sigma = sqrt(1 / alpha_bar - 1).

    Args:
        beta_min: Float in (0, 1), the variance of the first, smallest step.
            Defaults to `1e-4`.
        beta_max: Float in (0, 1), that of the last. Defaults to `0.02`.
        num_levels: Integer, at least 2. Defaults to `1000`.

    Returns:
        A float64 NumPy array of shape `(num_levels,)`.

    Example:

    >>> sigmas = variance_preserving_sigmas()
    >>> round(float(sigmas[0]), 1), round(float(sigmas[-1]), 4)
    (157.4, 0.01)

    Reference:

    - [Ho et al., 2020](https://arxiv.org/abs/2006.11239), Section 4.
    """
    check_count(least=2, num_levels=num_levels)
    if not 0 < beta_min <= beta_max < 1:
        raise ValueError(
            "Variances must satisfy 0 < `beta_min` <= `beta_max` < 1. "
            f"Received: beta_min={beta_min}, beta_max={beta_max}."
        )
    betas = np.linspace(beta_min, beta_max, num_levels)
    # 1 - alpha_bar by expm1 and log1p: the plain product loses half the digits
    # of the smallest levels.
    log_alpha_bar = np.cumsum(np.log1p(-betas))
    return np.sqrt(np.expm1(-log_alpha_bar))[::-1].copy()


def check_sigmas(sigmas):
    """Returns a ladder of noise levels, checked.

    Args:
        sigmas: Sequence of at least two floats above 0, strictly decreasing.

    Returns:
        A float64 NumPy array.
    """
    sigmas = np.asarray(sigmas, dtype="float64")
    is_ladder = (
        sigmas.ndim == 1
        and len(sigmas) >= 2
        and np.all(np.isfinite(sigmas) & (sigmas > 0))
        and np.all(np.diff(sigmas) < 0)
    )
    if not is_ladder:
        raise ValueError(
            "`sigmas` must be at least two finite noise levels above 0, "
            "strictly decreasing, because samplers walk from the largest to "
            f"the smallest. Received: sigmas={_abbreviate(sigmas)}"
        )
    return sigmas


@keras.saving.register_keras_serializable(package="keras_ncsn")
class NoiseSchedule:
    """A ladder of noise levels and the scale of a noisy image.

    Args:
        sigmas: Sequence of at least two floats, the noise levels, strictly
            decreasing and above 0: standard deviations relative to the image.
            Kept in float64.
        variance_preserving: Boolean. If `True`, noisy images are divided by
            sqrt(1 + sigma**2) and images with a value range are mapped to
            [-1, 1] first, as in DDPM. Defaults to `False`, as in NCSN.

    Example:

    >>> schedule = NoiseSchedule.geometric(sigma_max=1.0, sigma_min=0.01)
    >>> schedule.num_levels, schedule.sigma_max
    (10, 1.0)
    """

    def __init__(self, sigmas, variance_preserving=False):
        sigmas = check_sigmas(sigmas)
        self.sigmas = sigmas
        self.variance_preserving = variance_preserving

    @classmethod
    def geometric(cls, sigma_max=1.0, sigma_min=0.01, num_levels=10):
        """Returns NCSN's schedule, see `geometric_sigmas`."""
        return cls(geometric_sigmas(sigma_max, sigma_min, num_levels))

    @classmethod
    def linear_beta(cls, beta_min=1e-4, beta_max=0.02, num_levels=1000):
        """Returns DDPM's schedule, see `variance_preserving_sigmas`."""
        sigmas = variance_preserving_sigmas(beta_min, beta_max, num_levels)
        return cls(sigmas, variance_preserving=True)

    @property
    def num_levels(self):
        """Integer, the number of noise levels, L."""
        return len(self.sigmas)

    @property
    def sigma_max(self):
        """Float, the largest noise level."""
        return float(self.sigmas[0])

    @property
    def sigma_min(self):
        """Float, the smallest noise level."""
        return float(self.sigmas[-1])

    def scale(self, sigma):
        """Returns a(sigma), the factor of a noisy image, shaped like `sigma`.

        Args:
            sigma: Float tensor or array of noise levels.

        Returns:
            A tensor shaped like `sigma`.
        """
        if self.variance_preserving:
            return ops.rsqrt(1.0 + ops.square(sigma))
        return ops.ones_like(sigma)

    def noise_scale(self, sigma):
        """Returns a(sigma) * sigma, how much noise a noisy image holds.

        The noise is -a * sigma times the score.

        Args:
            sigma: Float tensor or array of noise levels.

        Returns:
            A tensor shaped like `sigma`.
        """
        return self.scale(sigma) * sigma

    def perturb(self, images, sigma, noise):
        """Returns the noisy images a(sigma) * (images + sigma * noise).

        Args:
            images: Float tensor of shape `(batch, ...)`.
            sigma: Float tensor of shape `(batch,)`, one noise level an image.
            noise: Float tensor shaped like `images`, standard normal.

        Returns:
            A float tensor shaped like `images`.

        Example:

        >>> from keras import ops
        >>> schedule = NoiseSchedule.geometric()
        >>> noisy = schedule.perturb(
        ...     ops.zeros((1, 2)), ops.array([0.5]), ops.ones((1, 2))
        ... )
        >>> [float(value) for value in noisy[0]]
        [0.5, 0.5]
        """
        images, noise = (
            ops.convert_to_tensor(images),
            ops.convert_to_tensor(noise),
        )
        # The schedule's own levels are float64.
        sigma = ops.cast(ops.convert_to_tensor(sigma), noise.dtype)
        sigma = expand_like(sigma, images)
        return self.scale(sigma) * (images + sigma * noise)

    def check_sigma(self, sigma):
        """Raises a `ValueError` for noise levels outside the ends.

        Args:
            sigma: Float or array of floats. A relative error of 1e-6 beyond
                the ends is let through.
        """
        sigma = np.asarray(sigma, "float64")
        low, high = self.sigma_min * (1 - 1e-6), self.sigma_max * (1 + 1e-6)
        # Written so that NaN fails.
        outside = sigma[~((sigma >= low) & (sigma <= high))]
        if outside.size:
            raise ValueError(
                "Noise levels must lie within the schedule, because the "
                "network has seen no others. Received: "
                f"sigma={float(outside[0])}, sigma_min={self.sigma_min}, "
                f"sigma_max={self.sigma_max}"
            )

    def get_config(self):
        return {
            "sigmas": self.sigmas.tolist(),
            "variance_preserving": self.variance_preserving,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def expand_like(values, images):
    """Returns one value an image, shaped to broadcast against `images`.

    Args:
        values: Tensor of shape `(batch,)`.
        images: Tensor of shape `(batch, ...)`.

    Returns:
        A tensor of shape `(batch, 1, ..., 1)`.

    Example:

    >>> import numpy as np
    >>> tuple(expand_like(np.ones(2), np.ones((2, 8, 8, 3))).shape)
    (2, 1, 1, 1)
    """
    return ops.reshape(values, (-1,) + (1,) * (len(images.shape) - 1))


def _abbreviate(sigmas):
    return np.array2string(sigmas, threshold=8, edgeitems=3, separator=", ")
