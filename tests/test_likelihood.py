"""The density along the flow, against closed forms."""

import numpy as np
import pytest
from exact_scores import MEAN, SPREAD, Correlated, Mixture, gaussian_score

from keras_ncsn.backend import BACKEND
from keras_ncsn.likelihood import log_density, unit_probes
from keras_ncsn.score_function import ScoreFunction, flow_sigmas

ENDS = SIGMA_MAX, SIGMA_MIN = 20.0, 0.01


def draw(data, count, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((count, len(data.mean)))
    return (data.mean + (data.spreads * z) @ data.axes.T).astype("float32")


def normal_log_density(x, variances):
    return -0.5 * np.sum(x**2 / variances + np.log(2 * np.pi * variances), -1)


def log_density_of_flow(data, x):
    """The exact one, of a flow that starts with normal noise around 0."""
    end = data.flow(x, SIGMA_MIN, SIGMA_MAX)
    variances = data.spreads**2
    stretch = (variances + SIGMA_MAX**2) / (variances + SIGMA_MIN**2)
    noise = normal_log_density(end, np.full(x.shape[1], SIGMA_MAX**2))
    return noise + 0.5 * np.log(stretch).sum()


def exactly(score, x, num_steps):
    """With one probe for each dimension."""
    probes = unit_probes(x.shape)
    return log_density(score, x, *ENDS, probes, num_steps).mean(axis=0)


def signs(*shape):
    return np.random.default_rng(1).choice(np.array([-1, 1], "float32"), shape)


@pytest.mark.parametrize(
    ("size", "num_steps", "error"), [(2, 160, 0.005), (64, 20, 3.0)]
)
def test_density_of_correlated_normal_points(size, num_steps, error):
    data = Correlated(size)
    x = draw(data, 20)
    found = exactly(data.score, x, num_steps)
    np.testing.assert_allclose(found, log_density_of_flow(data, x), atol=error)


def test_density_of_independent_normal_points():
    """Of 64 dimensions, for which one probe of random signs is exact."""
    x = np.random.default_rng(0).normal(MEAN, SPREAD, (20, 64)).astype("f4")
    probes = signs(1, 20, 64)
    (found,) = log_density(gaussian_score, x, *ENDS, probes, 320, middle=MEAN)
    stretch = (SPREAD**2 + SIGMA_MAX**2) / (SPREAD**2 + SIGMA_MIN**2)
    variances = np.full(64, SIGMA_MAX**2 / stretch)
    exact = normal_log_density(x - MEAN, variances)
    np.testing.assert_allclose(found, exact, atol=0.01)
    # The flow from pure noise ends with a variance that is too small, by 1e-4.
    variances = np.full(64, SPREAD**2 + SIGMA_MIN**2)
    of_data = normal_log_density(x - MEAN, variances)
    np.testing.assert_allclose(exact, of_data, atol=0.003)


@pytest.mark.parametrize("size", [2, 16])
def test_steps_are_of_second_order(size):
    data = Correlated(size)
    x = draw(data, 20)
    exact = log_density_of_flow(data, x)

    def error(num_steps):
        return np.abs(exactly(data.score, x, num_steps) - exact).max()

    assert np.log2(error(20) / error(40)) == pytest.approx(2, abs=0.4)


def test_random_probes_have_no_bias_and_their_spread_tells_the_error():
    data = Correlated(16)
    x = draw(data, 300)
    estimates = log_density(data.score, x, *ENDS, signs(20, 300, 16), 8)
    off = estimates.mean(axis=0) - exactly(data.score, x, 8)
    errors = estimates.std(axis=0, ddof=1) / np.sqrt(20)
    # 300 errors, whose root mean square is known to 5 %.
    assert np.sqrt(np.mean((off / errors) ** 2)) == pytest.approx(1, abs=0.2)
    assert abs(np.mean(off / errors)) < 0.25


def mixture_log_density(mixture, x, sigma):
    variance = mixture.spread**2 + sigma**2
    parts = [
        np.log(weight) - 0.5 * np.sum((x - centre) ** 2, -1) / variance
        for weight, centre in ((0.75, 0.0), (0.25, mixture.centre))
    ]
    return np.logaddexp(*parts) - np.log(2 * np.pi * variance)


def mixture_score(mixture, x, sigma):
    """In float64, from the density."""
    step = 1e-5 * max(sigma, mixture.spread)
    return np.stack(
        [
            (
                mixture_log_density(mixture, x + step * unit, sigma)
                - mixture_log_density(mixture, x - step * unit, sigma)
            )
            / (2 * step)
            for unit in np.eye(2)
        ],
        axis=-1,
    )


def flow_up(mixture, x, num_steps=400):
    """Follows the flow by a method of fourth order, in ln(sigma)."""
    logs = np.linspace(np.log(SIGMA_MIN), np.log(SIGMA_MAX), num_steps + 1)
    step = logs[1] - logs[0]

    def slope(x, log_sigma):
        sigma = np.exp(log_sigma)
        return -(sigma**2) * mixture_score(mixture, x, sigma)

    for log_sigma in logs[:-1]:
        first = slope(x, log_sigma)
        second = slope(x + step / 2 * first, log_sigma + step / 2)
        third = slope(x + step / 2 * second, log_sigma + step / 2)
        fourth = slope(x + step * third, log_sigma + step)
        x = x + step / 6 * (first + 2 * second + 2 * third + fourth)
    return x


def test_density_of_a_mixture_is_the_exact_change_of_variables():
    mixture = Mixture(size=2, distance=1.0, spread=0.2)
    rng = np.random.default_rng(0)
    x = rng.uniform(-0.4, 1.1, (25, 2))
    end, step = flow_up(mixture, x), 1e-4
    columns = [
        (flow_up(mixture, x + step * unit) - flow_up(mixture, x - step * unit))
        / (2 * step)
        for unit in np.eye(2)
    ]
    log_volume = np.linalg.slogdet(np.stack(columns, axis=-1))[1]
    exact = normal_log_density(end, np.full(2, SIGMA_MAX**2)) + log_volume
    found = exactly(mixture.score, x.astype("float32"), 320)
    np.testing.assert_allclose(found, exact, atol=5e-3)
    of_data = mixture_log_density(mixture, x, SIGMA_MIN)
    np.testing.assert_allclose(found, of_data, atol=0.05)


def test_noise_starts_around_the_middle():
    data = Correlated(4)
    x, shift = draw(data, 5), np.full(4, 30.0, "float32")
    probes = unit_probes(x.shape)
    found = log_density(
        lambda x, sigma: data.score(x - 30.0, sigma),
        x + shift,
        *ENDS,
        probes,
        40,
        middle=30.0,
    )
    expected = log_density(data.score, x, *ENDS, probes, 40)
    np.testing.assert_allclose(found, expected, atol=1e-2)


def test_levels_and_progress(eagerly):
    levels, reports = [], []

    def score_fn(x, sigma):
        levels.append(float(sigma[0]))
        return -x / (1.0 + sigma[:, None] ** 2)

    x = np.zeros((3, 2), "float32")
    with eagerly():
        log_density(
            score_fn,
            x,
            *ENDS,
            signs(1, 3, 2),
            4,
            on_step=lambda *step: reports.append(step),
        )
    up = flow_sigmas(*ENDS, 5)[::-1]
    # Each level but the first is seen twice: by the guess, and by the step.
    np.testing.assert_allclose(levels, np.repeat(up, 2)[1:], rtol=1e-5)
    assert reports == [(done, 5) for done in range(1, 6)]


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch compiles nothing")
def test_it_is_compiled_once():
    calls = []

    def function(x, sigma):
        calls.append(x)
        return -x / (1.0 + sigma[:, None] ** 2)

    score_fn = ScoreFunction(function)
    for seed in (0, 1):
        x = np.random.default_rng(seed).random((3, 2), "float32")
        log_density(score_fn, x, *ENDS, signs(2, 3, 2), 5 + seed)
        assert len(calls) == 2


def test_a_flow_that_diverges_is_an_error():
    with pytest.raises(FloatingPointError, match="diverged at noise level 0.0"):
        log_density(
            lambda x, sigma: -1e30 * x**3,
            np.ones((1, 2), "float32"),
            *ENDS,
            signs(1, 1, 2),
            10,
        )
