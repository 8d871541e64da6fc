"""Methods of posterior sampling, against posteriors in closed form."""

import numpy as np
import pytest
from benchmark_files import load_benchmark
from contract import assert_equal
from keras import ops

from keras_ncsn import operators, posterior, samplers
from keras_ncsn.noise import NoiseSchedule
from keras_ncsn.posterior.conjugate_gradients import pulled_solution
from keras_ncsn.samplers.noise_stream import NoiseStream
from keras_ncsn.score_function import ScoreFunction

exact_priors = load_benchmark("exact_priors")
Mixture, matrix_of = exact_priors.Mixture, exact_priors.matrix_of

RNG = np.random.default_rng(0)
WIDE = NoiseSchedule.geometric(20.0, 0.02, 15)
LANGEVIN = samplers.AnnealedLangevin(steps_per_level=40, step_size=8e-5)
# Of images of 4 by 2 pixels with 3 channels, and of signals.
IMAGE, SIGNAL = (4, 2, 3), (6,)
SIGMAS = (0.01, 0.1, 0.5, 2.0, 20.0)
CASES = {
    "mask": (operators.Mask(np.arange(8).reshape(4, 2) % 3 > 0), IMAGE),
    "downsample": (operators.Downsample(2), IMAGE),
    "blur": (operators.Blur(np.outer([1, 2, 1], [0, 1, 2]) / 12), IMAGE),
    "greyscale": (operators.Grayscale(), IMAGE),
    "matrix": (operators.Matrix(RNG.standard_normal((5, 24)) / 3), IMAGE),
    "fourier": (operators.Fourier(np.arange(8).reshape(4, 2) < 5), IMAGE),
    "function": (
        operators.LinearOperator(lambda x: x[:, 1:] - x[:, :-1]),
        SIGNAL,
    ),
}


def normal_prior(image_shape, covariance=None):
    size = int(np.prod(image_shape))
    if covariance is None:
        covariance = exact_priors.correlated(size)
    mean = np.linspace(-1, 1, size).reshape(image_shape)
    return Mixture.normal(mean, covariance)


def measure(prior, operator, noise_std, count, seed=1):
    """Returns images of the prior, and their measurements."""
    rng = np.random.default_rng(seed)
    images = prior.sample(count, rng).astype("float32")
    measurements = ops.convert_to_numpy(operator(images))
    noise = rng.standard_normal(measurements.shape, "float32")
    measured = operator.measured(measurements + np.float32(noise_std) * noise)
    return images, measured.astype("float32")


def call(score_fn, x, sigma):
    return score_fn(x, sigma)


def score(score_fn, x, sigma):
    """Returns the score of some images, compiled as samplers do it."""
    return ops.convert_to_numpy(score_fn.run(call, x, sigma))


def exact_scores(prior, operator, measurements, noise_std, x, sigmas):
    matrix = matrix_of(operator, prior.image_shape)
    scores = []
    for row, sigma in enumerate(sigmas.astype("float64")):
        measured = measurements[row].ravel()
        exact = prior.posterior(matrix, measured, noise_std)
        variance = exact.covariances[0] + sigma**2 * np.eye(matrix.shape[1])
        apart = (exact.means[0] - x[row]).ravel()
        scores.append(np.linalg.solve(variance, apart))
    return np.reshape(scores, x.shape)


def noisy(images, sigmas):
    """Returns images with a noise level each, and the levels."""
    levels = np.array(sigmas, "float32")
    noise = RNG.standard_normal(images.shape, "float32")
    return images + expand_like(levels, images) * noise, levels


def expand_like(levels, images):
    return levels.reshape(-1, *[1] * (images.ndim - 1))


def assert_exact(method, operator, prior, noise_std, rtol):
    """Checks the posterior score at each level against the closed form."""
    score_fn = method.posterior(prior.score_function(), operator)
    images, measured = measure(prior, operator, noise_std, len(SIGMAS))
    x, levels = noisy(images, SIGMAS)
    estimate = score(score_fn.bind(noise_std, measured), x, levels)
    exact = exact_scores(prior, operator, measured, noise_std, x, levels)
    # The noise of a score is 1 / sigma.
    scale = expand_like(levels, x)
    assert_equal(scale * estimate, scale * exact, rtol)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("noise_std", [0.05, 1.0])
def test_mmps_is_exact_for_normal_images(name, noise_std):
    operator, image_shape = CASES[name]
    method = posterior.MMPS(num_iterations=30)
    prior = normal_prior(image_shape)
    assert_exact(method, operator, prior, noise_std, rtol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_pigdm_is_exact_for_independent_values(name):
    operator, image_shape = CASES[name]
    method = posterior.PiGDM(data_std=0.3)
    size = int(np.prod(image_shape))
    prior = normal_prior(image_shape, 0.3**2 * np.eye(size))
    assert_exact(method, operator, prior, 0.1, rtol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_score_ald_adds_the_likelihood_of_noisy_images(name):
    operator, image_shape = CASES[name]
    prior = normal_prior(image_shape)
    images, measured = measure(prior, operator, 0.1, len(SIGMAS))
    of_prior = prior.score_function()
    score_fn = posterior.ScoreALD(num_iterations=50).posterior(
        of_prior, operator
    )
    x, levels = noisy(images, SIGMAS)
    estimate = score(score_fn.bind(0.1, measured), x, levels)
    matrix = matrix_of(operator, image_shape)
    expected = score(of_prior, x, levels)
    residuals = measured - ops.convert_to_numpy(operator(x))
    for row, sigma in enumerate(SIGMAS):
        covariance = 0.1**2 * np.eye(len(matrix)) + sigma**2 * matrix @ matrix.T
        towards = matrix.T @ np.linalg.solve(covariance, residuals[row].ravel())
        expected[row] += towards.reshape(x[row].shape)
    scale = expand_like(levels, x)
    assert_equal(scale * estimate, scale * expected, rtol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_dps_is_the_gradient_of_the_distance(name):
    operator, image_shape = CASES[name]
    prior = normal_prior(image_shape)
    images, measured = measure(prior, operator, 0.1, count=3)
    x = images + RNG.standard_normal(images.shape, "f4")
    sigma = np.full(3, 0.7, "float32")
    of_prior = prior.score_function()
    score_fn = posterior.DPS(scale=0.3).posterior(of_prior, operator)
    estimate = score(score_fn.bind(0.1, measured), x, sigma)
    covariance, matrix = prior.covariances[0], matrix_of(operator, image_shape)
    gain = np.linalg.solve(covariance + 0.49 * np.eye(x[0].size), covariance)
    apart = (x - prior.means).reshape(3, -1)
    clean = prior.means.reshape(-1) + apart @ gain.T
    residual = measured.reshape(3, -1) - clean @ matrix.T
    unit = residual / np.linalg.norm(residual, axis=1, keepdims=True)
    towards = (unit @ matrix @ gain).reshape(x.shape)
    expected = score(of_prior, x, sigma) + 0.3 * towards / 0.49
    assert_equal(estimate, expected, rtol=1e-4)


def test_replacement_moves_known_pixels_to_their_values():
    operator, image_shape = CASES["mask"]
    prior = normal_prior(image_shape)
    method = posterior.Replacement()
    for noise_std, sigma in ((0.0, 0.5), (0.3, 0.1)):
        images, measured = measure(prior, operator, noise_std, count=2)
        levels = np.full(2, sigma, "float32")
        score_fn = method.posterior(prior.score_function(), operator)
        estimate = score(score_fn.bind(noise_std, measured), images, levels)
        towards = (measured - images) / (noise_std**2 + sigma**2)
        unchanged = score(prior.score_function(), images, levels)
        known = operator.known_mask(image_shape)
        expected = np.where(known, towards, unchanged)
        assert_equal(estimate, expected, rtol=1e-5)


def test_replacement_needs_a_mask():
    prior = normal_prior(SIGNAL).score_function()
    with pytest.raises(ValueError, match="must get the operator `Mask`.*Down"):
        posterior.Replacement().posterior(prior, operators.Downsample(2))


def draw(prior, method, operator, noise_std, sampler, measured, count):
    """Returns samples of one image, `(count, size)`, in a wide schedule."""
    score_fn = method.posterior(prior.score_function(), operator)
    measured = np.repeat(measured[:1], count, axis=0)
    noise = NoiseStream(0, 0, (count, *prior.image_shape))
    samples = sampler.sample(score_fn.bind(noise_std, measured), WIDE, noise)
    return ops.convert_to_numpy(samples).reshape(count, -1)


@pytest.mark.parametrize(
    ("method", "sampler"),
    [
        (posterior.MMPS(num_iterations=5), samplers.Heun(num_steps=30)),
        (posterior.ScoreALD(num_iterations=5), LANGEVIN),
    ],
)
def test_samples_have_the_mean_and_covariance_of_the_posterior(method, sampler):
    operator = CASES["function"][0]
    prior = normal_prior(SIGNAL)
    measured = measure(prior, operator, 0.3, count=1)[1]
    samples = draw(prior, method, operator, 0.3, sampler, measured, 1500)
    matrix = matrix_of(operator, SIGNAL)
    exact = prior.posterior(matrix, measured[0], 0.3)
    # In coordinates in which the posterior is standard normal. 1,500 samples:
    # the means are known to 0.026, the variances to 3.7 %.
    factor = np.linalg.inv(np.linalg.cholesky(exact.covariances[0]))
    white = (samples - exact.means[0]) @ factor.T
    assert np.abs(white.mean(axis=0)).max() < 0.12
    assert np.abs(np.cov(white.T) - np.eye(6)).max() < 0.2


@pytest.mark.parametrize("name", ["matrix", "blur", "fourier"])
def test_spread_of_mmps_is_within_two_percent_of_the_posterior(name):
    rng = np.random.default_rng(0)
    operator = {
        "matrix": operators.Matrix(rng.standard_normal((3, 6)) / 3),
        "blur": operators.Blur([0.25, 0.5, 0.25]),
        "fourier": operators.Fourier(np.arange(6) < 3),
    }[name]
    prior = normal_prior(SIGNAL)
    measured = measure(prior, operator, 0.3, count=1)[1]
    samples = draw(
        prior,
        posterior.MMPS(num_iterations=6),
        operator,
        0.3,
        samplers.Heun(num_steps=35),
        measured,
        count=4000,
    )
    matrix = matrix_of(operator, SIGNAL)
    exact = prior.posterior(matrix, measured[0].ravel(), 0.3)
    factor = np.linalg.inv(np.linalg.cholesky(exact.covariances[0]))
    white = (samples - exact.means[0]) @ factor.T
    # Of 6 * 4,000 numbers the mean spread is known to 0.5 %.
    assert white.std(axis=0).mean() == pytest.approx(1.0, abs=0.02)


def test_samples_of_a_mixture_find_the_weights_of_the_posterior():
    """Three quarters of the data are on the left, measured as in the middle."""
    prior = Mixture(
        np.array([0.75, 0.25]),
        np.array([[-1.0, -1.0], [1.0, 1.0]]),
        0.3**2 * np.array([[[1.0, 0.8], [0.8, 1.0]]] * 2),
    )
    operator = operators.Mask([True, False])
    measured, noise_std = np.array([[0.3, 0.0]], "float32"), 0.5
    exact = prior.posterior(np.array([[1.0, 0.0]]), measured[0][:1], noise_std)
    assert exact.weights[1] == pytest.approx(0.66, abs=0.01)
    # For mixtures the methods are approximate. Measured were 0.57 and 0.61.
    method = posterior.MMPS(num_iterations=1)
    for sampler in (samplers.Heun(num_steps=30), LANGEVIN):
        samples = draw(
            prior, method, operator, noise_std, sampler, measured, 1000
        )
        right = samples[:, 1] > 0
        assert right.mean() == pytest.approx(exact.weights[1], abs=0.15)
        assert np.abs(samples[right].mean(axis=0) - exact.means[1]).max() < 0.15


def test_conjugate_gradients_are_exact_after_as_many_steps_as_values():
    matrix = exact_priors.correlated(5, 1.0, 0.2).astype("float32")
    residual = RNG.standard_normal((3, 5), "float32")
    expected = np.linalg.solve(matrix + 0.01 * np.eye(5), residual.T).T

    def solve(residual, num_iterations):
        return pulled_solution(
            ops.convert_to_tensor(residual),
            lambda v: v,
            lambda v: ops.matmul(v, ops.convert_to_tensor(matrix)),
            0.1,
            num_iterations,
            ops.zeros_like(residual),
        )

    assert_equal(solve(residual, 5), expected, rtol=1e-4)
    # More do no harm, and an image that is solved stays so.
    assert_equal(solve(residual, 50), expected, rtol=1e-4)
    assert_equal(solve(0 * residual, 5), 0 * expected)


def test_conjugate_gradients_stop_where_the_matrix_is_not_positive():
    """Networks may have Jacobians that no covariance has."""
    matrix = np.diag([1.0, 1.0, -3.0]).astype("float32")
    residual = ops.convert_to_tensor(np.eye(3, dtype="float32"))
    solution = pulled_solution(
        residual,
        lambda v: v,
        lambda v: ops.matmul(v, ops.convert_to_tensor(matrix)),
        0.0,
        4,
        ops.zeros_like(residual),
    )
    assert_equal(solution, np.diag([1.0, 1.0, 0.0]))


@pytest.mark.parametrize(
    "method",
    [
        posterior.MMPS(num_iterations=4),
        posterior.PiGDM(),
        posterior.DPS(),
        posterior.ScoreALD(),
        posterior.Replacement(),
    ],
)
def test_number_of_passes_is_as_documented(eagerly, method, monkeypatch):
    from keras_ncsn import backend

    passes = []
    whole = backend.output_and_pull_back

    def counted(function, x, *others):
        output, pull_back = whole(function, x, *others)

        def pull_back_counted(direction):
            passes.append("backward")
            return pull_back(direction)

        return output, pull_back_counted

    def prior(x, sigma):
        passes.append("forward")
        return -x

    monkeypatch.setattr(backend, "output_and_pull_back", counted)
    score_fn = method.posterior(
        ScoreFunction(prior), operators.Mask([True, False])
    )
    with eagerly():
        score(
            score_fn.bind(0.1, np.ones((3, 2), "float32")),
            np.zeros((3, 2), "float32"),
            np.ones(3, "float32"),
        )
    assert len(passes) == method.num_passes
    assert passes.count("forward") == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: posterior.MMPS(num_iterations=0), "num_iterations=0"),
        (lambda: posterior.MMPS(num_iterations=10**6), "at most 1,000"),
        (lambda: posterior.PiGDM(data_std=0), "`data_std` must be.*data_std=0"),
        (lambda: posterior.DPS(scale=-1.0), r"`scale` must be.*scale=-1\.0"),
        (lambda: posterior.ScoreALD(num_iterations=1.5), "num_iterations=1.5"),
        (
            lambda: posterior.chosen_method("ddrm"),
            "`method` must be one of dps, mmps, pigdm, repl.*method='ddrm'",
        ),
        (lambda: posterior.chosen_method(3), "method=3"),
    ],
)
def test_wrong_methods_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_method_and_its_name_mean_the_same():
    assert posterior.chosen_method(None) == posterior.MMPS()
    for name, kind in posterior.NAMES.items():
        assert posterior.chosen_method(name) == kind()
    method = posterior.MMPS(num_iterations=7)
    assert posterior.chosen_method(method) is method
