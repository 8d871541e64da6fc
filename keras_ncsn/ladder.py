"""Which noise levels suit a data set: the ladder of NCSNv2.

How far apart the levels are (technique 2 of the paper), and how large a
Langevin step is (technique 4); `distances` says where the ladder begins
(technique 1). Backend-free.
"""

import math

import numpy as np

from keras_ncsn.checks import check_above_zero, check_count


def suggested_ratio(dimension, overlap=0.5):
    """Returns the ratio of two neighbouring noise levels.

    Noise of dimension D and level sigma lies in a thin shell of radius
    sigma * sqrt(D). The ratio is such that a shell reaches into the next: of
    the noise of one level, the share `overlap` lies within three standard
    deviations of the shell of the next. More pixels make thinner shells, and
    so need more levels.

    Args:
        dimension: Integer, numbers in an image (height * width * channels),
            at least 5: in fewer dimensions all shells overlap.
        overlap: Float above 0 and below 0.99. Defaults to `0.5`, the paper's.
            The ladders that the paper used have 0.57.

    Returns:
        A float above 1.

    Example:

    >>> round(suggested_ratio(32 * 32 * 3), 4)
    1.0398

    Reference:

    - [Song and Ermon, 2020](https://arxiv.org/abs/2006.09011), Technique 2.
    """
    check_count(dimension=dimension)
    if dimension < 5:
        raise ValueError(
            "`dimension` must be at least 5, because in fewer dimensions noise "
            "of any two levels overlaps. Received: "
            f"dimension={dimension}. Choose the number of levels by hand."
        )
    if not 0 < overlap < 0.99:
        raise ValueError(
            "`overlap` must be above 0 and below 0.99. Received: "
            f"overlap={overlap}"
        )
    # The overlap of equal levels is 0.997; it rises, then falls to 0, so it
    # takes a smaller value once.
    high = 2.0
    while shell_overlap(high, dimension) > overlap:
        high *= 2.0
    return _bisect(
        lambda ratio: overlap - shell_overlap(ratio, dimension), 1.0, high
    )


def shell_overlap(ratio, dimension):
    """Returns the share of a level's noise that the next level has seen.

    Args:
        ratio: Float, at least 1, a noise level divided by the next.
        dimension: Integer, numbers in an image.

    Returns:
        A float in [0, 1].

    Example:

    >>> round(shell_overlap(1.0, dimension=3072), 4)
    0.9973

    Reference:

    - [Song and Ermon, 2020](https://arxiv.org/abs/2006.09011), Technique 2.
    """
    centre = math.sqrt(2.0 * dimension) * (ratio - 1.0)
    return _normal_cdf(centre + 3.0 * ratio) - _normal_cdf(centre - 3.0 * ratio)


def suggested_num_levels(sigma_max, sigma_min, dimension, overlap=0.5):
    """Returns how many levels a geometric ladder needs.

    The smallest number whose neighbours are no farther apart than
    `suggested_ratio`.

    Args:
        sigma_max: Float, the largest noise level.
        sigma_min: Float above 0, the smallest.
        dimension: As in `suggested_ratio`.
        overlap: As in `suggested_ratio`. Defaults to `0.5`.

    Returns:
        An integer, at least 2.

    Example:

    >>> suggested_num_levels(50.0, 0.01, dimension=32 * 32 * 3)
    220

    Reference:

    - [Song and Ermon, 2020](https://arxiv.org/abs/2006.09011), Technique 2.
    """
    if not 0 < sigma_min < sigma_max < float("inf"):
        raise ValueError(
            "Noise levels must satisfy 0 < `sigma_min` < `sigma_max`. "
            f"Received: sigma_min={sigma_min}, sigma_max={sigma_max}. "
            "Swap the two if they are in the wrong order."
        )
    log_ratio = math.log(suggested_ratio(dimension, overlap))
    num_ratios = (math.log(sigma_max) - math.log(sigma_min)) / log_ratio
    return 1 + max(1, math.ceil(num_ratios))


def suggested_step_size(sigmas, steps_per_level):
    """Returns the step of annealed Langevin dynamics for a ladder.

    At each level the samples arrive with the noise of the level before, too
    large by the ratio of the two. Steps that are too small leave it there,
    and steps that are too large add noise of their own; this is the step
    after which the variance is nearest to that of the level. More steps may
    be smaller and get nearer.

    Args:
        sigmas: Sequence of floats, the noise levels, largest first, evenly
            spaced in log scale.
        steps_per_level: Integer, at least 1, steps at each level.

    Returns:
        A float, the `step_size` of the sampler: the step at the smallest
        level.

    Example:

    >>> sigmas = keras_ncsn.NoiseSchedule.geometric(50.0, 0.01, 232).sigmas
    >>> f"{suggested_step_size(sigmas, steps_per_level=5):.2g}"
    '6.2e-06'

    Reference:

    - [Song and Ermon, 2020](https://arxiv.org/abs/2006.09011), Technique 4.
    """
    check_count(steps_per_level=steps_per_level)
    square, sigma_min = _checked_ratio(sigmas) ** 2, float(sigmas[-1])

    def slope(step):
        # The derivative of `variance_after` by the step: it rises while the
        # noise of the steps is the smaller part, and is positive after.
        noise = 2.0 / (2.0 - step)
        kept = math.exp((2 * steps_per_level - 1) * math.log1p(-step))
        lost = -math.expm1(2 * steps_per_level * math.log1p(-step))
        gained = noise**2 / 2.0 * lost
        return gained - 2 * steps_per_level * kept * (square - noise)

    highest = min(2.0 - 2.0 / square, math.nextafter(1.0, 0.0))
    return _bisect(slope, 0.0, highest) * sigma_min**2


def variance_after(sigmas, steps_per_level, step_size):
    """Returns the variance after the steps of a level, over that of the level.

    For samples around a single image, whose score is known. Above 1, which it
    always is, they take noise along to the next level.

    Args:
        sigmas: As in `suggested_step_size`.
        steps_per_level: As in `suggested_step_size`.
        step_size: Float above 0 and below the square of the smallest level,
            as of the sampler.

    Returns:
        A float above 1.

    Example:

    >>> sigmas = keras_ncsn.NoiseSchedule.geometric(50.0, 0.01, 232).sigmas
    >>> round(variance_after(sigmas, 5, step_size=6.2e-6), 3)
    1.055

    Reference:

    - [Song and Ermon, 2020](https://arxiv.org/abs/2006.09011), Technique 4.
    """
    check_count(steps_per_level=steps_per_level)
    check_above_zero(step_size=step_size)
    square = _checked_ratio(sigmas) ** 2
    step = step_size / float(sigmas[-1]) ** 2
    if step >= 1.0:
        raise ValueError(
            "`step_size` must be below the square of the smallest noise level. "
            f"Received: step_size={step_size}, sigmas[-1]={sigmas[-1]}"
        )
    # The paper's 2 step / (1 - (1 - step)^2), which is 0 / 0 at 0.
    noise = 2.0 / (2.0 - step)
    kept = math.exp(2 * steps_per_level * math.log1p(-step))
    return kept * (square - noise) + noise


def _bisect(function, low, high):
    # Of a function below 0 at `low` and above 0 at `high`, to the last digit.
    while True:
        middle = (low + high) / 2.0
        if middle in (low, high):
            return middle
        if function(middle) < 0.0:
            low = middle
        else:
            high = middle


def _normal_cdf(x):
    # erfc keeps the digits of the lower tail.
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def _checked_ratio(sigmas):
    sigmas = np.asarray(sigmas, "float64")
    if sigmas.ndim == 1 and len(sigmas) >= 2 and np.all(sigmas > 0):
        ratios = sigmas[:-1] / sigmas[1:]
        if ratios.min() > 1.0 and np.allclose(ratios, ratios[0], rtol=1e-3):
            return float((sigmas[0] / sigmas[-1]) ** (1 / len(ratios)))
    raise ValueError(
        "`sigmas` must be at least two noise levels above 0, largest first, "
        "each the same ratio above the next. Received: sigmas="
        f"{np.array2string(sigmas, threshold=8, edgeitems=3, separator=', ')}"
    )
