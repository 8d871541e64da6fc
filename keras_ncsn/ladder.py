"""Which noise levels suit a data set: the ladder of NCSNv2.

The largest level is the largest distance between two images (technique 1 of
the paper). Technique 2 gives the ratio of neighbouring levels, and technique 4
the step size of Langevin dynamics. Nothing here needs a backend.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from keras_ncsn.checks import check_above_zero, check_count, check_seed
from keras_ncsn.images import to_floats

# The most images that are compared at a time.
MAX_CHUNK = 1024


def largest_distance(
    images: npt.ArrayLike, num_images: int | None = None, seed: int | None = 0
) -> float:
    """Returns the largest Euclidean distance between two images.

    It is a good choice for the largest noise level: at that level, a sample
    can move from any image to any other. The result is exact. Pairs that the
    triangle inequality rules out are skipped, which leaves few for pictures.
    With `num_images`, only a random sample of the images is compared, and the
    result may be too small.

    Args:
        images: Array of shape `(num_images, ...)`, at least two; uint8 is
            divided by 255, as the model does.
        num_images: Integer, at least 2, how many images to sample. Defaults
            to `None`, all.
        seed: Integer, at least 0, the seed of the sample. Defaults to `0`.

    Returns:
        A float.

    Example:

    >>> largest_distance(np.array([[0.0, 0.0], [3.0, 4.0], [1.0, 1.0]]))
    5.0

    Reference:

    - [Song and Ermon, 2020](https://arxiv.org/abs/2006.09011), Technique 1.
    """
    images = np.asarray(images)
    _check_images(images)
    if num_images is not None:
        check_count(2, num_images=num_images)
        rng = np.random.default_rng(check_seed(seed))
        num_images = min(num_images, len(images))
        # Sorted, so that a file on disk is read in order.
        rows = rng.choice(len(images), num_images, replace=False)
        images = images[np.sort(rows)]
    first, second = _farthest_pair(images)
    difference = _rows(images, [first]) - _rows(images, [second])
    return float(np.linalg.norm(difference))


def _farthest_pair(images):
    # Images are compared in order of their distance from the mean, farthest
    # first. Two images are no farther apart than the sum of these distances,
    # so the first few chunks are mostly enough. A chunk takes a few hundred
    # megabytes, whatever the size of the images.
    dimension = math.prod(images.shape[1:])
    size = min(MAX_CHUNK, max(1, 2**24 // dimension))
    starts = range(0, len(images), size)
    chunks = [slice(start, start + size) for start in starts]
    mean = sum(_rows(images, chunk).sum(axis=0) for chunk in chunks)
    mean = mean / len(images)
    radii = np.concatenate(
        [
            np.linalg.norm(_rows(images, chunk) - mean, axis=1)
            for chunk in chunks
        ]
    )
    order = np.argsort(-radii, kind="stable")
    best, pair = 0.0, (0, 0)
    for start in starts:
        chunk = order[start : start + size]
        for other_start in range(0, start + 1, size):
            other = order[other_start : other_start + size]
            if radii[chunk[0]] + radii[other[0]] <= best:
                break
            distance, row, column = _farthest(
                _rows(images, chunk) - mean, _rows(images, other) - mean
            )
            if distance > best:
                best, pair = distance, (chunk[row], other[column])
    return pair


def _farthest(first, second):
    # float32 finds the pair twice as fast. The distance that is returned is
    # computed again in float64.
    first, second = first.astype("float32"), second.astype("float32")
    squares = (
        np.square(first).sum(axis=1)[:, None]
        + np.square(second).sum(axis=1)
        - 2.0 * first @ second.T
    )
    row, column = np.unravel_index(np.argmax(squares), squares.shape)
    return math.sqrt(max(0.0, float(squares[row, column]))), row, column


def _rows(images, index):
    rows = to_floats(images[index]).astype("float64")
    return rows.reshape(len(rows), -1)


def _check_images(images):
    if images.ndim < 2 or len(images) < 2 or images.size == 0:
        raise ValueError(
            "`images` must be at least two, of shape (num_images, ...). "
            f"Received: images.shape={images.shape}"
        )
    if images.dtype == np.uint8:
        return
    if images.dtype.kind not in "fiub" or not np.isfinite(images).all():
        raise ValueError(
            "`images` must be finite numbers. Received: an array of "
            f"{images.dtype} with other values, such as NaN"
        )


def suggested_ratio(dimension: int, overlap: float = 0.5) -> float:
    """Returns a good ratio of two neighbouring noise levels.

    Noise of dimension D and level sigma lies in a thin shell of radius
    sigma * sqrt(D). With this ratio, neighbouring shells overlap: the share
    `overlap` of one level's noise lies within three standard deviations of
    the next level's shell. More pixels make thinner shells, and so need more
    levels.

    Args:
        dimension: Integer, numbers in an image (height * width * channels),
            at least 5: in fewer dimensions all shells overlap.
        overlap: Float above 0 and below 0.99. Defaults to `0.5`, as in the
            paper's text. The paper's own ladders have 0.57.

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
    # Equal levels have an overlap of 0.997. As the ratio grows, the overlap
    # first rises and then falls to 0, so it takes each smaller value once.
    high = 2.0
    while shell_overlap(high, dimension) > overlap:
        high *= 2.0
    return _bisect(
        lambda ratio: overlap - shell_overlap(ratio, dimension), 1.0, high
    )


def shell_overlap(ratio: float, dimension: int) -> float:
    """Returns the share of one level's noise that lies in the next's shell.

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


def suggested_num_levels(
    sigma_max: float, sigma_min: float, dimension: int, overlap: float = 0.5
) -> int:
    """Returns how many levels a geometric ladder needs.

    It is the smallest number of levels whose ratio is at most
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


def suggested_step_size(
    sigmas: Sequence[float] | np.ndarray, steps_per_level: int
) -> float:
    """Returns the step size of annealed Langevin dynamics for a ladder.

    Samples arrive at each level with the noise of the previous level, which
    is too large by the ratio of the two. Steps that are too small leave it
    there, and steps that are too large add too much noise of their own. This
    step size brings the variance closest to that of the level. With more steps
    per level, each step can be smaller and the variance gets closer.

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
        # The derivative of `variance_after` by the step. It rises as long as
        # `noise` is below `square`, and is positive beyond: it has one root.
        noise = 2.0 / (2.0 - step)
        kept = math.exp((2 * steps_per_level - 1) * math.log1p(-step))
        lost = -math.expm1(2 * steps_per_level * math.log1p(-step))
        gained = noise**2 / 2.0 * lost
        return gained - 2 * steps_per_level * kept * (square - noise)

    highest = min(2.0 - 2.0 / square, math.nextafter(1.0, 0.0))
    return _bisect(slope, 0.0, highest) * sigma_min**2


def variance_after(
    sigmas: Sequence[float] | np.ndarray, steps_per_level: int, step_size: float
) -> float:
    """Returns the variance after the steps of a level, relative to the level's.

    It is computed for samples around a single image, whose score is known. It
    is always above 1: samples carry some extra noise to the next level.

    Args:
        sigmas: As in `suggested_step_size`.
        steps_per_level: As in `suggested_step_size`.
        step_size: Float above 0 and below the square of the smallest level,
            the `step_size` of the sampler.

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
    # The paper's 2 step / (1 - (1 - step)^2), simplified: that is 0 / 0 at 0.
    noise = 2.0 / (2.0 - step)
    kept = math.exp(2 * steps_per_level * math.log1p(-step))
    return kept * (square - noise) + noise


def _bisect(
    function: Callable[[float], float], low: float, high: float
) -> float:
    # Finds the root of a function that is negative at `low` and positive at
    # `high`, to the last digit.
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
        "with the same ratio between neighbours. Received: sigmas="
        f"{np.array2string(sigmas, threshold=8, edgeitems=3, separator=', ')}"
    )
