"""The samplers, on scores that are known in closed form."""

import dataclasses
import json

import numpy as np
import pytest
from keras import ops

from keras_ncsn import samplers
from keras_ncsn.backend import BACKEND
from keras_ncsn.noise import NoiseSchedule
from keras_ncsn.samplers.heun import heun_sigmas
from keras_ncsn.samplers.known import Known
from keras_ncsn.samplers.noise_stream import NoiseStream
from keras_ncsn.samplers.score_function import ScoreFunction

SCHEDULE = NoiseSchedule.geometric(1.0, 0.01, 10)
WIDE = NoiseSchedule.geometric(20.0, 0.01, 40)
MEAN, SPREAD = 0.5, 0.2


def gaussian_score(x, sigma):
    return (MEAN - x) / (SPREAD**2 + ops.square(sigma)[:, None])


def mixture_score(x, sigma):
    """Of 3/4 at 0 and 1/4 at 1, each with spread 0.1."""
    variance = 0.1**2 + ops.square(sigma)[:, None]
    logit = np.log(1 / 3) + (ops.square(x) - ops.square(x - 1)) / (2 * variance)
    return (ops.sigmoid(logit) - x) / variance


def stream(count=40, size=100, seed=0):
    """4,000 numbers, or others; each image has a generator of its own."""
    return NoiseStream(seed, 0, (count, size))


def run(
    kind, score_fn, schedule, noise, known=None, value_range=None, **settings
):
    sampler = kind(**settings)
    return ops.convert_to_numpy(
        sampler.sample(score_fn, schedule, noise, known, None, value_range)
    )


@pytest.mark.parametrize(
    ("sampler", "schedule", "settings"),
    [
        (samplers.AnnealedLangevin, SCHEDULE, {"value_range": (0, 1)}),
        (samplers.AnnealedLangevin, SCHEDULE, {"denoise": True}),
        (samplers.AnnealedLangevin, WIDE, {"steps_per_level": 40}),
        (samplers.Langevin, SCHEDULE, {"num_steps": 1000, "step_size": 4e-4}),
        (samplers.Heun, WIDE, {}),
        (samplers.Heun, WIDE, {"num_steps": 40, "value_range": (0, 1)}),
    ],
)
def test_exact_score_recovers_the_data_distribution(
    sampler, schedule, settings
):
    samples = run(sampler, gaussian_score, schedule, stream(), **settings)
    # 4,000 samples: the mean is known to 0.003, the spread to 1.1 %.
    assert samples.mean() == pytest.approx(MEAN, abs=0.015)
    assert samples.std() == pytest.approx(SPREAD, rel=0.06)


@pytest.mark.parametrize(
    ("sampler", "schedule", "settings"),
    [
        (samplers.AnnealedLangevin, SCHEDULE, {"value_range": (0, 1)}),
        (samplers.Heun, WIDE, {"num_steps": 40}),
    ],
)
def test_exact_score_recovers_the_weights_of_a_mixture(
    sampler, schedule, settings
):
    samples = run(sampler, mixture_score, schedule, stream(), **settings)
    right = samples > 0.5
    assert right.mean() == pytest.approx(0.25, abs=0.04)
    assert samples[right].mean() == pytest.approx(1.0, abs=0.02)
    assert samples[~right].std() == pytest.approx(0.1, rel=0.1)


def test_langevin_at_one_level_does_not_find_the_weights():
    samples = run(
        samplers.Langevin,
        mixture_score,
        SCHEDULE,
        stream(),
        value_range=(0, 1),
        num_steps=1000,
    )
    # It keeps the half that uniform noise starts on the right.
    assert (samples > 0.5).mean() == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize(
    ("sampler", "settings", "expected"),
    [
        (samplers.AnnealedLangevin, {"steps_per_level": 3}, 10 * 3),
        (
            samplers.AnnealedLangevin,
            {"steps_per_level": 12, "denoise": True},
            10 * 12 + 1,
        ),
        (samplers.Langevin, {"num_steps": 25}, 25),
        (samplers.Langevin, {"num_steps": 5, "denoise": True}, 5 + 1),
        (samplers.Heun, {"num_steps": 18}, 2 * 18 - 1),
    ],
)
def test_number_of_evaluations_is_as_documented(
    eagerly, sampler, settings, expected
):
    calls = []

    def score_fn(x, sigma):
        calls.append(sigma)
        return -x

    with eagerly():
        run(sampler, score_fn, SCHEDULE, stream(2, 1), **settings)
    assert len(calls) == expected
    assert sampler(**settings).num_evaluations(SCHEDULE) == expected


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch compiles nothing")
def test_heun_compiles_the_network_once():
    calls = []

    @ScoreFunction
    def score_fn(x, sigma):
        calls.append(sigma)
        return -x

    known = Known(np.zeros((2, 2), "float32"), np.array([[True, False]]))
    for settings in ({}, {"churn": 1.0}, {"known": known}):
        run(samplers.Heun, score_fn, WIDE, stream(2, 2), **settings)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("sampler", "settings"),
    [
        (samplers.AnnealedLangevin, {}),
        (samplers.Langevin, {"num_steps": 20}),
        (samplers.Heun, {}),
    ],
)
def test_known_pixels_end_at_the_smallest_noise(sampler, settings):
    images = np.full((50, 2), 0.25, "float32")
    known = Known(images, np.array([[True, False]]))
    noise = stream(50, 2)
    samples = run(sampler, gaussian_score, SCHEDULE, noise, known, **settings)
    assert np.abs(samples[:, 0] - 0.25).max() < 0.05
    assert np.abs(samples[:, 1] - 0.25).max() > 0.1


def test_heun_completes_what_belongs_together():
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

    known = Known(np.full((4000, 2), 0.8, "float32"), np.array([[True, False]]))
    noise = stream(4000, 2)
    filled = run(
        samplers.Heun, score_fn, WIDE, noise, known=known, value_range=(0, 1)
    )
    assert filled[:, 1].mean() == pytest.approx(0.72, abs=0.02)
    assert filled[:, 1].std() == pytest.approx(0.117, abs=0.01)


def test_inpainting_takes_as_many_evaluations(eagerly):
    calls = []

    def score_fn(x, sigma):
        calls.append(sigma)
        return -x

    known = Known(np.zeros((2, 1), "float32"), np.array([[True]]))
    with eagerly():
        run(samplers.Heun, score_fn, SCHEDULE, stream(2, 1), known=known)
    assert len(calls) == 35


def test_noise_of_an_image_is_the_same_in_any_batch():
    whole = NoiseStream(5, 0, (4, 3))
    part = NoiseStream(5, 2, (2, 3))
    np.testing.assert_array_equal(whole.uniform()[2:], part.uniform())
    np.testing.assert_array_equal(whole.normal(7)[:, 2:], part.normal(7))
    np.testing.assert_array_equal(whole.normal()[2:], part.normal())


def test_noise_of_neighbouring_seeds_and_images_differs():
    draws = [
        NoiseStream(seed, 0, (3, 4)).normal().tolist() for seed in range(3)
    ]
    rows = {tuple(row) for draw in draws for row in draw}
    assert len(rows) == 9


def test_heun_sigmas_equal_those_of_edm():
    sigmas = heun_sigmas(80.0, 0.002, 18)
    index = np.arange(18)
    ends = 80.0 ** (1 / 7), 0.002 ** (1 / 7)
    expected = (ends[0] + index / 17 * (ends[1] - ends[0])) ** 7
    np.testing.assert_allclose(sigmas, expected)


def test_heun_is_of_second_order():
    """Halving the step quarters the error, on a flow with a known end."""
    noise = stream(64, 1)
    start = WIDE.sigma_max * NoiseStream(0, 0, (64, 1)).normal()
    # Of a Gaussian, x - mean shrinks with the spread of the noisy data.
    spread = np.sqrt(SPREAD**2 + WIDE.sigma_max**2)
    exact = MEAN + (start - MEAN) * SPREAD / spread

    def error(num_steps):
        samples = run(
            samplers.Heun,
            gaussian_score,
            WIDE,
            stream(64, 1),
            num_steps=num_steps,
        )
        return np.abs(samples - exact).max()

    assert noise.shape == start.shape
    order = np.log2(error(20) / error(40))
    assert order == pytest.approx(2.0, abs=0.5)


@pytest.mark.parametrize("churn", [1.0, 1000.0])
def test_churn_keeps_the_distribution_and_forgets_the_start(churn):
    settings = {"num_steps": 60, "churn": churn}
    samples = run(samplers.Heun, gaussian_score, WIDE, stream(), **settings)
    assert samples.mean() == pytest.approx(MEAN, abs=0.05)
    assert samples.std() == pytest.approx(SPREAD, rel=0.05)
    flow = run(samplers.Heun, gaussian_score, WIDE, stream(), num_steps=60)
    related = np.corrcoef(samples.ravel(), flow.ravel())[0, 1]
    # Each step forgets a part, the more the larger the churn.
    assert (0.2 < related < 0.8) if churn == 1.0 else (abs(related) < 0.1)


@pytest.mark.parametrize(("churn", "high"), [(0.6, 5.0), (9.0, 50.0)])
def test_churn_is_within_its_range(eagerly, churn, high):
    levels = []

    def score_fn(x, sigma):
        levels.append(float(ops.convert_to_numpy(sigma)[0]))
        return -x

    settings = {"num_steps": 6, "churn": churn, "churn_range": (0.1, high)}
    with eagerly():
        run(samplers.Heun, score_fn, WIDE, stream(2, 1), **settings)
    sigmas = heun_sigmas(WIDE.sigma_max, WIDE.sigma_min, 6)
    inside = (sigmas >= 0.1) & (sigmas <= high)
    factor = min(1 + churn / 6, np.sqrt(2))
    expected = np.where(inside, factor * sigmas, sigmas)[:-1]
    # The network knows nothing above the first level.
    expected = np.minimum(expected, WIDE.sigma_max)
    np.testing.assert_allclose(levels[:-1:2], expected, rtol=1e-5)
    np.testing.assert_allclose(levels[1:-1:2], sigmas[1:], rtol=1e-5)


@pytest.mark.parametrize(
    ("sampler", "settings", "message"),
    [
        (
            samplers.AnnealedLangevin,
            {"steps_per_level": 0},
            "`steps_per_level` must be an integer.*Received: steps_per_level=0",
        ),
        (
            samplers.AnnealedLangevin,
            {"step_size": 0.0},
            r"`step_size` must be a number above 0.*step_size=0\.0",
        ),
        (samplers.Langevin, {"num_steps": 1.5}, "num_steps=1.5"),
        (samplers.Langevin, {"sigma": 2.0}, r"within the schedule.*sigma=2\.0"),
        (samplers.Heun, {"num_steps": 1}, "at least 2.*num_steps=1"),
        (samplers.Heun, {"num_steps": 10**15}, "at most 10,000,000.*10000"),
        (samplers.Langevin, {"num_steps": 10**15}, "at most 10,000,000"),
        (
            samplers.AnnealedLangevin,
            {"steps_per_level": 10**15},
            "`steps_per_level` must be an integer of at most",
        ),
        (samplers.Heun, {"churn": -1.0}, r"`churn` must be.*churn=-1\.0"),
        (samplers.Heun, {"churn": float("nan")}, "`churn` must be.*churn=nan"),
        (samplers.Heun, {"churn": "1"}, "`churn` must be.*churn=1"),
        (samplers.Heun, {"churn_range": (2.0, 1.0)}, "must be a pair of noise"),
        (samplers.Heun, {"churn_range": 1.0}, "must be a pair of noise"),
    ],
)
def test_wrong_settings_are_refused(sampler, settings, message):
    with pytest.raises(ValueError, match=message):
        run(sampler, gaussian_score, SCHEDULE, stream(2, 1), **settings)


@pytest.mark.parametrize("kind", samplers.NAMES.values())
def test_a_sampler_is_rebuilt_from_its_settings(kind):
    sampler = kind()
    again = samplers.make(kind.name, json.loads(json.dumps(sampler.settings())))
    assert again == sampler
    assert {again: 1}[sampler] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        sampler.num_steps = 3
    for field in dataclasses.fields(sampler):
        assert field.metadata["help"].endswith(".")


def test_unknown_samplers_are_refused():
    with pytest.raises(ValueError, match="one of annealed_langevin, heun, lan"):
        samplers.make("ddim")
    with pytest.raises(ValueError, match="one of annealed_langevin.*Received"):
        samplers.make(["heun"])
