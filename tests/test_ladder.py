import itertools
import math
import statistics

import numpy as np
import pytest

from keras_ncsn import ladder
from keras_ncsn.noise import geometric_sigmas

# sigma_max, numbers in an image, levels, steps a level, step size: the ladders
# of NCSNv2 for CIFAR-10, CelebA, bedrooms and faces.
PUBLISHED = [
    (50.0, 32 * 32 * 3, 232, 5, 6.2e-6),
    (90.0, 64 * 64 * 3, 500, 5, 3.3e-6),
    (190.0, 128 * 128 * 3, 1086, 3, 1.8e-6),
    (348.0, 256 * 256 * 3, 2311, 3, 0.9e-6),
]


def variances(square, step, num_steps):
    """Langevin steps on the exact score of one point, in plain numbers."""
    variance = square
    for _ in range(num_steps):
        variance = (1.0 - step) ** 2 * variance + 2.0 * step
    return variance


@pytest.mark.parametrize("dimension", [5, 10, 784, 3072, 196_608])
@pytest.mark.parametrize("overlap", [0.01, 0.5, 0.9])
def test_ratio_solves_the_paper_s_equation(dimension, overlap):
    ratio = ladder.suggested_ratio(dimension, overlap)
    normal = statistics.NormalDist()
    centre = math.sqrt(2 * dimension) * (ratio - 1)
    share = normal.cdf(centre + 3 * ratio) - normal.cdf(centre - 3 * ratio)
    assert share == pytest.approx(overlap, abs=1e-9)
    assert ladder.shell_overlap(ratio, dimension) == pytest.approx(share)


def test_ratio_of_high_dimensions_is_its_closed_form():
    # The upper tail is gone: half overlaps where the lower argument is 0.
    root = math.sqrt(2 * 10**6)
    assert ladder.suggested_ratio(10**6) == pytest.approx(
        root / (root - 3.0), rel=1e-5
    )


def test_overlap_is_the_share_of_noise_in_the_shell_of_the_next_level():
    dimension, ratio = 3072, 1.03
    noise = np.random.default_rng(0).standard_normal((2000, dimension))
    radii = ratio * np.linalg.norm(noise, axis=1)
    # The radius of unit noise is normal, sqrt(D) with variance 1/2; three
    # standard deviations of that of the larger level, as in the paper.
    near = np.abs(radii - math.sqrt(dimension)) < 3 * ratio / math.sqrt(2)
    assert np.mean(near) == pytest.approx(
        ladder.shell_overlap(ratio, dimension), abs=0.04
    )


@pytest.mark.parametrize(
    ("sigma_max", "dimension", "num_levels", "steps", "step_size"), PUBLISHED
)
def test_published_ladders_are_reproduced(
    sigma_max, dimension, num_levels, steps, step_size
):
    suggested = ladder.suggested_num_levels(sigma_max, 0.01, dimension)
    assert suggested == pytest.approx(num_levels, rel=0.07)
    sigmas = geometric_sigmas(sigma_max, 0.01, num_levels)
    assert ladder.suggested_step_size(sigmas, steps) == pytest.approx(
        step_size, rel=0.02
    )
    sigmas = geometric_sigmas(sigma_max, 0.01, suggested)
    assert ladder.suggested_step_size(sigmas, steps) == pytest.approx(
        step_size, rel=0.07
    )


def test_num_levels_is_the_smallest_that_overlaps():
    num_levels = ladder.suggested_num_levels(50.0, 0.01, 3072)
    overlaps = [
        ladder.shell_overlap(5000 ** (1 / (levels - 1)), 3072)
        for levels in (num_levels - 1, num_levels)
    ]
    assert overlaps[0] < 0.5 <= overlaps[1]


def test_at_least_two_levels_are_suggested():
    assert ladder.suggested_num_levels(0.0101, 0.01, 3072) == 2


@pytest.mark.parametrize("steps", [1, 5, 100])
@pytest.mark.parametrize("num_levels", [2, 10, 232, 2000])
def test_step_size_is_optimal(num_levels, steps):
    sigmas = geometric_sigmas(50.0, 0.01, num_levels)
    square = float(sigmas[0] / sigmas[1]) ** 2
    step = ladder.suggested_step_size(sigmas, steps) / 0.01**2
    assert 0 < step < 1
    best = variances(square, step, steps)
    others = np.concatenate(
        [np.geomspace(1e-9, 1, 200, endpoint=False), step * np.r_[0.99, 1.01]]
    )
    others = variances(square, others[others < 1], steps)
    assert best <= others.min() * (1 + 1e-12)
    assert ladder.variance_after(sigmas, steps, step * 0.01**2) == (
        pytest.approx(best, rel=1e-9)
    )


def test_many_steps_bring_the_variance_to_that_of_the_level():
    sigmas = geometric_sigmas(50.0, 0.01, 232)
    step_size = ladder.suggested_step_size(sigmas, 100_000)
    assert ladder.variance_after(sigmas, 100_000, step_size) == pytest.approx(
        1.0, abs=1e-4
    )


def test_variance_equals_that_of_simulated_langevin_dynamics():
    sigmas = geometric_sigmas(50.0, 0.01, 10)
    rng = np.random.default_rng(0)
    step_size, sigma = 2e-5, sigmas[4]
    step = step_size * (sigma / sigmas[-1]) ** 2
    x = sigmas[3] * rng.standard_normal(200_000)
    for _ in range(3):
        noise = rng.standard_normal(len(x))
        x = x - step * x / sigma**2 + math.sqrt(2 * step) * noise
    assert np.var(x) / sigma**2 == pytest.approx(
        ladder.variance_after(sigmas, 3, step_size), rel=0.02
    )


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"dimension": 4}, "at least 5.*dimension=4"),
        ({"dimension": 10.0}, r"integer.*dimension=10\.0"),
        ({"overlap": 0.0}, r"above 0.*overlap=0\.0"),
        ({"overlap": 0.99}, r"below 0\.99.*overlap=0\.99"),
        ({"sigma_min": 0.0}, r"0 < `sigma_min`.*sigma_min=0\.0"),
        ({"sigma_max": 0.005}, "Swap the two"),
        ({"sigma_max": float("nan")}, "sigma_max=nan"),
    ],
)
def test_suggested_num_levels_rejects(kwargs, message):
    valid = {"sigma_max": 50.0, "sigma_min": 0.01, "dimension": 3072}
    with pytest.raises(ValueError, match=message):
        ladder.suggested_num_levels(**(valid | kwargs))


@pytest.mark.parametrize(
    ("sigmas", "kwargs", "message"),
    [
        ([1.0], {}, r"at least two noise levels.*sigmas=\[1.\]"),
        ([0.1, 1.0], {}, "largest first"),
        ([1.0, 0.5, 0.1], {}, "same ratio"),
        ([1.0, 0.0], {}, "above 0"),
        ([1.0, 0.1], {"steps_per_level": 0}, "steps_per_level=0"),
        ([1.0, 0.1], {"step_size": 0.0}, r"above 0.*step_size=0\.0"),
        ([1.0, 0.1], {"step_size": 0.02}, r"below the square.*step_size=0\.02"),
    ],
)
def test_variance_after_rejects(sigmas, kwargs, message):
    valid = {"steps_per_level": 5, "step_size": 1e-5}
    with pytest.raises(ValueError, match=message):
        ladder.variance_after(sigmas, **(valid | kwargs))


@pytest.mark.parametrize(
    ("sigmas", "steps", "message"),
    [
        ([1.0, 0.5, 0.1], 5, "same ratio"),
        ([1.0, 0.1], 0, "steps_per_level=0"),
    ],
)
def test_suggested_step_size_rejects(sigmas, steps, message):
    with pytest.raises(ValueError, match=message):
        ladder.suggested_step_size(sigmas, steps)


def brute_force_distance(images):
    flat = images.reshape(len(images), -1).astype("float64")
    return max(
        np.linalg.norm(a - b) for a, b in itertools.combinations(flat, 2)
    )


def test_distance_of_two_images_is_exact():
    images = np.zeros((2, 4, 4, 1))
    images[1, 0, 0], images[1, 3, 3] = 3.0, 4.0
    assert ladder.largest_distance(images) == 5.0


def test_distance_of_black_and_white_is_the_diagonal_of_the_cube():
    images = np.zeros((5, 8, 8, 3), "uint8")
    images[3] = 255
    assert ladder.largest_distance(images) == pytest.approx(math.sqrt(192))


@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("spread", [0.0, 1.0, 5.0])
def test_distance_equals_that_of_brute_force(monkeypatch, chunk, spread):
    # Without spread all are as far from the mean and no pair is ruled out.
    rng = np.random.default_rng(0)
    images = rng.standard_normal((60, 16))
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    images *= 1.0 + spread * rng.random((60, 1))
    images = images.reshape(60, 4, 4, 1)
    monkeypatch.setattr(ladder, "MAX_CHUNK", chunk)
    assert ladder.largest_distance(images) == pytest.approx(
        brute_force_distance(images.astype("float32")), rel=1e-12
    )


def test_distance_far_from_the_origin_keeps_its_digits():
    images = 1000.0 + np.array([[0.0, 0.0], [0.25, 0.0], [0.125, 0.5]])
    assert ladder.largest_distance(images) == math.hypot(0.125, 0.5)


def test_distance_of_a_sample_is_below_that_of_all():
    images = np.random.default_rng(0).random((200, 10))
    whole = ladder.largest_distance(images)
    sample = ladder.largest_distance(images, num_images=20, seed=3)
    assert 0 < sample < whole
    assert ladder.largest_distance(images, num_images=20, seed=3) == sample
    assert ladder.largest_distance(images, num_images=20, seed=4) != sample
    assert ladder.largest_distance(images, num_images=1000) == whole


@pytest.mark.parametrize(
    ("images", "kwargs", "message"),
    [
        (np.zeros((1, 4)), {}, r"at least two.*shape=\(1, 4\)"),
        (np.zeros(4), {}, r"at least two.*shape=\(4,\)"),
        (np.zeros((4, 0)), {}, r"at least two.*shape=\(4, 0\)"),
        (np.full((2, 4), np.nan), {}, "finite numbers.*float64"),
        (np.full((2, 4), "a"), {}, "finite numbers.*<U1"),
        (np.zeros((2, 4)), {"num_images": 1}, "at least 2.*num_images=1"),
        (np.zeros((2, 4)), {"num_images": 2.0}, "integer.*num_images=2.0"),
        (np.zeros((2, 4)), {"num_images": 2, "seed": -1}, "seed=-1"),
    ],
)
def test_largest_distance_rejects(images, kwargs, message):
    with pytest.raises(ValueError, match=message):
        ladder.largest_distance(images, **kwargs)
