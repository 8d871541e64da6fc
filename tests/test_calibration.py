"""The benchmark of calibration, and the closed forms that it rests on."""

import numpy as np
import pytest
from benchmark_files import load_benchmark
from click.testing import CliRunner
from keras import ops

exact_priors = load_benchmark("exact_priors")
calibration = load_benchmark("calibration")

MIXTURE = exact_priors.Mixture(
    np.array([0.7, 0.3]),
    np.array([[-1.0, 0.0], [0.5, 1.0]]),
    np.array([[[0.3, 0.1], [0.1, 0.2]], [[0.1, -0.05], [-0.05, 0.4]]]),
)


def density(points, sigma=0.0):
    """Returns that of the mixture with noise added, written out."""
    total = 0.0
    for weight, mean, covariance in zip(
        MIXTURE.weights, MIXTURE.means, MIXTURE.covariances, strict=True
    ):
        covariance = covariance + sigma**2 * np.eye(2)
        apart = points - mean
        inverse = np.linalg.inv(covariance)
        distance = np.einsum("...i,ij,...j->...", apart, inverse, apart)
        size = 2 * np.pi * np.sqrt(np.linalg.det(covariance))
        total = total + weight * np.exp(-distance / 2) / size
    return total


@pytest.mark.parametrize("sigma", [0.05, 0.5, 3.0])
def test_scores_are_slopes_of_the_density(sigma):
    points = np.random.default_rng(0).standard_normal((20, 2))
    steps = 1e-5 * np.eye(2)
    ends = [
        np.log(density(points[:, None] + sign * steps, sigma))
        for sign in (1, -1)
    ]
    slopes = (ends[0] - ends[1]) / 2e-5
    score = MIXTURE.score_function()(
        ops.convert_to_tensor(points, "float32"),
        ops.convert_to_tensor(np.full(20, sigma), "float32"),
    )
    score = ops.convert_to_numpy(score)
    np.testing.assert_allclose(score, slopes, rtol=1e-4, atol=1e-4)


def test_posterior_of_a_mixture_equals_that_on_a_grid():
    axis = np.linspace(-6, 6, 801)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
    matrix, noise_std = np.array([[1.0, 2.0], [0.5, 1.0]]), 0.7
    measured = np.array([1.0, 0.3])
    residual = measured - grid @ matrix.T
    likelihood = np.exp(-np.square(residual).sum(-1) / 2 / noise_std**2)
    weights = density(grid) * likelihood
    weights /= weights.sum()
    mean = np.einsum("ij,ijk->k", weights, grid)
    apart = grid - mean
    covariance = np.einsum("ij,ijk,ijl->kl", weights, apart, apart)
    exact = MIXTURE.posterior(matrix, measured, noise_std)
    np.testing.assert_allclose(exact.mean, mean, atol=1e-4)
    np.testing.assert_allclose(exact.covariance, covariance, atol=1e-4)


def test_samples_of_a_mixture_have_its_moments():
    samples = MIXTURE.sample(20_000, np.random.default_rng(0))
    np.testing.assert_allclose(samples.mean(0), MIXTURE.mean, atol=0.02)
    np.testing.assert_allclose(np.cov(samples.T), MIXTURE.covariance, atol=0.03)


@pytest.fixture
def measured():
    """Images, samples of their posteriors, and these posteriors."""
    rng = np.random.default_rng(0)
    prior = exact_priors.Mixture.normal(
        np.zeros(4), exact_priors.correlated(4, 1.0, 0.3)
    )
    images, matrix = prior.sample(400, rng), np.eye(4)[:2]
    noisy = images @ matrix.T + 0.2 * rng.standard_normal((400, 2))
    exact = [prior.posterior(matrix, one, 0.2) for one in noisy]
    samples = np.stack([one.sample(39, rng) for one in exact])
    return images, samples, exact


def test_exact_samples_are_calibrated(measured):
    result = calibration.compare(*measured)
    assert result["mean"] < 0.05
    assert result["spread"] < 0.03
    assert result["coverage"] == pytest.approx([0.5, 0.8, 0.95], abs=0.03)
    assert result["ranks"] < 0.04


def test_samples_that_spread_too_little_are_found(measured):
    images, samples, exact = measured
    means = np.stack([one.mean for one in exact])[:, None]
    result = calibration.compare(images, means + (samples - means) / 2, exact)
    assert result["spread"] == pytest.approx(0.5, abs=0.02)
    assert result["worst"] == pytest.approx(-0.5, abs=0.03)
    # The shares of a normal distribution within half of the intervals. The
    # widest ends at the extremes of 39 samples, half of 2.15 from the middle.
    assert result["coverage"] == pytest.approx([0.26, 0.48, 0.72], abs=0.05)


def test_spreads_of_images_that_cancel_are_found(measured):
    """Too wide for half of the images, too narrow for the others."""
    images, samples, exact = measured
    means = np.stack([one.mean for one in exact])[:, None]
    factors = np.where(np.arange(len(images)) % 2, 0.5, np.sqrt(1.75))
    changed = means + (samples - means) * factors[:, None, None]
    result = calibration.compare(images, changed, exact)
    assert result["spread"] < 0.03
    # Of 39 samples the spread is known to 11 %.
    chance = calibration.compare(images, samples, exact)["spread of an image"]
    assert chance == pytest.approx(0.115, abs=0.01)
    off = np.sqrt(np.mean(np.log(factors) ** 2) + chance**2)
    assert result["spread of an image"] == pytest.approx(off, abs=0.02)


def test_scores_of_many_posteriors_equal_those_of_each():
    measured = np.random.default_rng(0).standard_normal((5, 1))
    exact = [MIXTURE.posterior(np.eye(2)[:1], one, 0.3) for one in measured]
    x = np.random.default_rng(1).standard_normal((5, 2)).astype("float32")
    x, sigma = map(ops.convert_to_tensor, (x, np.full(5, 0.2, "float32")))
    scores = exact_priors.score_function_of_each(exact)(x, sigma)
    for index, one in enumerate(exact):
        expected = one.score_function()(x, sigma)[index]
        np.testing.assert_allclose(
            ops.convert_to_numpy(scores[index]),
            ops.convert_to_numpy(expected),
            rtol=1e-4,
            atol=1e-4,
        )


def test_samples_by_the_exact_score_show_the_error_of_the_sampler(measured):
    images, _, exact = measured
    results = [
        calibration.compare(
            images,
            calibration.draw_exactly(
                exact, calibration.samplers.Heun(num_steps=steps), 39, seed=0
            ),
            exact,
        )
        for steps in (10, 40)
    ]
    assert results[0]["spread"] > 0.05
    assert results[1]["spread"] < 0.03


def test_samples_that_are_shifted_are_found(measured):
    images, samples, exact = measured
    spread = np.sqrt(np.linalg.eigvalsh(exact[0].covariance)[-1])
    axis = np.linalg.eigh(exact[0].covariance)[1][:, -1]
    shifted = samples + spread * axis
    result = calibration.compare(images, shifted, exact)
    # By 1 along one of four axes.
    assert result["mean"] == pytest.approx(0.5, abs=0.05)
    assert result["ranks"] > 0.06


def test_the_benchmark_prints_a_row_for_each_method():
    arguments = ["--num-images", "2", "--num-samples", "3", "--passes", "18"]
    done = CliRunner().invoke(
        calibration.main,
        [*arguments, "--prior", "normal, 2", "--method", "MMPS, 1 iterations"],
        catch_exceptions=False,
    )
    rows = [line.split(" | ")[1:3] for line in done.output.splitlines()[2:]]
    assert rows == [
        ["mask", "exact posterior"],
        ["mask", "exact posterior score, Heun, 5 steps"],
        ["mask", "MMPS, 1 iterations"],
        ["compressed sensing", "exact posterior"],
        ["compressed sensing", "exact posterior score, Heun, 5 steps"],
        ["compressed sensing", "MMPS, 1 iterations"],
    ]
