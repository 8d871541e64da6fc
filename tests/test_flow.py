"""Methods along the probability flow, whose end is known in closed form."""

import numpy as np
import pytest
from exact_scores import MEAN, SPREAD, Correlated, Mixture, gaussian_score
from keras import ops

from keras_ncsn.noise import NoiseSchedule
from keras_ncsn.samplers import AnnealedLangevin, DPMSolver, Euler, Heun
from keras_ncsn.samplers.known import Known
from keras_ncsn.samplers.noise_stream import NoiseStream
from keras_ncsn.score_function import flow_sigmas

METHODS = [DPMSolver, Euler, Heun]
WIDE = NoiseSchedule.geometric(20.0, 0.01, 40)
PAPERS = NoiseSchedule.geometric(1.0, 0.01, 10)


def run(sampler, score_fn, schedule, noise, **arguments):
    return ops.convert_to_numpy(
        sampler.sample(score_fn, schedule, noise, **arguments)
    )


def stream(count=1000, size=4):
    return NoiseStream(0, 0, (count, size))


def test_levels_equal_those_of_edm():
    sigmas = flow_sigmas(80.0, 0.002, 18)
    index = np.arange(18)
    ends = 80.0 ** (1 / 7), 0.002 ** (1 / 7)
    expected = (ends[0] + index / 17 * (ends[1] - ends[0])) ** 7
    np.testing.assert_allclose(sigmas, expected)


@pytest.mark.parametrize(
    ("method", "expected"), [(Euler, 1.0), (DPMSolver, 2.0), (Heun, 2.0)]
)
def test_order_of_convergence(method, expected):
    """With half the step, the error is 2**order times smaller."""
    data = Correlated()
    start = WIDE.sigma_max * stream(64, 16).normal()
    # The last step returns the denoised points, whatever the method.
    exact = data.flow(start, WIDE.sigma_max, WIDE.sigma_min)
    exact = data.denoised(exact, WIDE.sigma_min)

    def error(num_steps):
        sampler = method(num_steps=num_steps)
        samples = run(sampler, data.score, WIDE, stream(64, 16))
        return np.abs(samples - exact).max()

    order = np.log2(error(40) / error(80))
    assert order == pytest.approx(expected, abs=0.25)
    assert error(80) < 0.05


@pytest.mark.parametrize("method", METHODS)
def test_trajectory_is_that_of_the_flow(method):
    data = Correlated()
    start = WIDE.sigma_max * stream(8, 16).normal()
    frames = []
    method(num_steps=400).sample(
        data.score,
        WIDE,
        stream(8, 16),
        on_progress=lambda x, done, total: frames.append(x),
    )
    sigmas = flow_sigmas(WIDE.sigma_max, WIDE.sigma_min, 400)
    for index in range(0, 399, 50):
        sigma = sigmas[index + 1]
        exact = data.flow(start, WIDE.sigma_max, sigma)
        error = ops.convert_to_numpy(frames[index]) - exact
        # Of first order, the error of Euler's method is larger.
        assert np.abs(error).max() < (0.01 if method is Euler else 3e-4) * (
            1.0 + sigma
        )


def test_euler_is_ddim_where_the_schedule_preserves_variance():
    schedule = NoiseSchedule.linear_beta()
    data = Correlated()
    samples = run(Euler(num_steps=10), data.score, schedule, stream(8, 16))
    # DDIM without noise, in its own terms, on the same levels.
    sigmas = flow_sigmas(schedule.sigma_max, schedule.sigma_min, 10)
    alpha_bars = np.append(1.0 / (1.0 + sigmas**2), 1.0)
    y = np.sqrt(1.0 - alpha_bars[0]) * stream(8, 16).normal()
    for index, sigma in enumerate(sigmas):
        now, after = alpha_bars[index : index + 2]
        clean = data.denoised(y / np.sqrt(now), sigma)
        noise = (y - np.sqrt(now) * clean) / np.sqrt(1.0 - now)
        y = np.sqrt(after) * clean + np.sqrt(1.0 - after) * noise
    np.testing.assert_allclose(samples, y, atol=2e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("churn", [1.0, 1000.0])
def test_churn_keeps_the_distribution_and_forgets_the_start(method, churn):
    steps = 200 if method is Euler else 60
    sampler = method(num_steps=steps, churn=churn)
    samples = run(sampler, gaussian_score, WIDE, stream())
    assert samples.mean() == pytest.approx(MEAN, abs=0.05)
    # A step of first order after so much noise keeps too little of it.
    tolerance = 0.1 if method is Euler else 0.06
    assert samples.std() == pytest.approx(SPREAD, rel=tolerance)
    flow = run(method(num_steps=steps), gaussian_score, WIDE, stream())
    related = np.corrcoef(samples.ravel(), flow.ravel())[0, 1]
    # Each step forgets a part, the more the larger the churn.
    assert (0.2 < related < 0.8) if churn == 1.0 else (abs(related) < 0.1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("churn", "high"), [(0.6, 5.0), (9.0, 50.0)])
def test_churn_is_within_its_range(eagerly, method, churn, high):
    levels = []

    def score_fn(x, sigma):
        levels.append(float(ops.convert_to_numpy(sigma)[0]))
        return gaussian_score(x, sigma)

    sampler = method(num_steps=6, churn=churn, churn_range=(0.1, high))
    with eagerly():
        run(sampler, score_fn, WIDE, stream(2))
    sigmas = flow_sigmas(WIDE.sigma_max, WIDE.sigma_min, 6)
    inside = (sigmas >= 0.1) & (sigmas <= high)
    factor = min(1 + churn / 6, np.sqrt(2))
    expected = np.where(inside, factor * sigmas, sigmas)[:-1]
    # The network knows nothing above the first level.
    expected = np.minimum(expected, WIDE.sigma_max)
    if method is Heun:
        np.testing.assert_allclose(levels[1:-1:2], sigmas[1:], rtol=1e-5)
        levels = levels[::2]
    np.testing.assert_allclose(levels[:-1], expected, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_langevin_steps_first_where_the_ladder_starts_too_small(method):
    """Two modes, 2 apart, on the ladder of the paper, which starts at 1.

    The flow starts halfway between them, so it gives the smaller mode too
    many points. Langevin steps at the first level move points to the other.
    Of 4,000 points, Heun's method gave it 37.4 %, after 20 Langevin steps
    27.0 %, and after 100 steps 25.9 %.
    """
    mixture = Mixture(size=1, distance=2.0, spread=0.1)
    around = {"value_range": (0.0, 2.0)}

    def share(sampler):
        samples = run(sampler, mixture.score, PAPERS, stream(1500, 1), **around)
        return mixture.around_centre(samples).mean()

    # The truth is 0.25.
    assert share(method(num_steps=50)) > 0.34
    first = method(num_steps=50, num_langevin_steps=100)
    assert share(first) == pytest.approx(0.25, abs=0.04)


def test_langevin_steps_first_are_those_of_the_paper(eagerly):
    states = []

    def score_fn(x, sigma):
        states.append(ops.convert_to_numpy(x))
        return gaussian_score(x, sigma)

    with eagerly():
        run(Euler(num_langevin_steps=1), score_fn, PAPERS, stream(5))
    before, after = states[:2]
    noise = stream(5)
    noise.normal()
    score = (MEAN - before) / (SPREAD**2 + 1.0)
    # At the largest level of its ladder.
    eta = AnnealedLangevin().step_size / PAPERS.sigma_min**2
    expected = before + eta * score + np.sqrt(2 * eta) * noise.normal()
    np.testing.assert_allclose(after, expected, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_inpainting_completes_what_belongs_together(method):
    """Two pixels with correlation 0.9, of which one is known to be 0.8.

    The other then has mean 0.77 and spread 0.131. The sampler comes near it:
    0.72 and 0.117 were measured, where the flow alone gives 0.62 and 0.217.
    """
    covariance = 0.3**2 * np.array([[1.0, 0.9], [0.9, 1.0]])
    values, vectors = np.linalg.eigh(covariance)
    vectors = ops.convert_to_tensor(vectors.astype("float32"))
    values = ops.convert_to_tensor(values.astype("float32"))

    def score_fn(x, sigma):
        inner = ops.matmul(x - 0.5, vectors)
        inner = inner / (values + ops.square(sigma)[:, None])
        return -ops.matmul(inner, ops.transpose(vectors))

    known = Known(np.full((2000, 2), 0.8, "float32"), np.array([[True, False]]))
    # 35 evaluations, which all methods use alike.
    sampler = Heun() if method is Heun else method(num_steps=35)
    filled = run(
        sampler,
        score_fn,
        WIDE,
        stream(2000, 2),
        known=known,
        value_range=(0, 1),
    )
    assert filled[:, 1].mean() == pytest.approx(0.72, abs=0.02)
    assert filled[:, 1].std() == pytest.approx(0.117, abs=0.01)
