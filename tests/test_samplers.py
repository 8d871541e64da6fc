"""What every sampler keeps to, on scores that are known in closed form."""

import dataclasses
import json

import numpy as np
import pytest
from exact_scores import MEAN, SPREAD, Correlated, Mixture, gaussian_score
from keras import ops

from keras_ncsn import guidance, samplers
from keras_ncsn.backend import BACKEND
from keras_ncsn.noise import NoiseSchedule
from keras_ncsn.samplers.known import Known
from keras_ncsn.samplers.noise_stream import NoiseStream
from keras_ncsn.score_function import ScoreFunction

SCHEDULE = NoiseSchedule.geometric(1.0, 0.01, 10)
SHORT = NoiseSchedule.geometric(20.0, 0.01, 20)
WIDE = NoiseSchedule.geometric(20.0, 0.01, 40)
LONG = NoiseSchedule.geometric(20.0, 0.01, 200)
THOUSAND = NoiseSchedule.linear_beta()

# Of each kind, samplers and schedules that take enough steps.
EXACT = [
    (samplers.AnnealedLangevin(steps_per_level=40, step_size=1e-5), SHORT),
    (samplers.ConsistentAnnealedSampling(), LONG),
    (samplers.ConsistentAnnealedSampling(), THOUSAND),
    (samplers.DDPM(), LONG),
    (samplers.DDPM(), THOUSAND),
    (samplers.DPMSolver(num_steps=40), WIDE),
    (samplers.DPMSolver(num_steps=80, churn=10.0), WIDE),
    (samplers.Euler(num_steps=200), WIDE),
    (samplers.Euler(num_steps=200, churn=10.0), WIDE),
    (samplers.Heun(num_steps=40), WIDE),
    (samplers.Heun(num_steps=80, churn=10.0), WIDE),
    (samplers.PredictorCorrector(), LONG),
    (samplers.PredictorCorrector(predictor="ancestral"), LONG),
    (samplers.PredictorCorrector(num_corrector_steps=0), LONG),
]


def stream(count=1000, size=4, seed=0, first=0):
    return NoiseStream(seed, first, (count, size))


def run(sampler, score_fn, schedule, noise, known=None, value_range=None):
    return ops.convert_to_numpy(
        sampler.sample(score_fn, schedule, noise, known, None, value_range)
    )


def size(sampler):
    """Of points. The corrector measures norms, which few coordinates bias."""
    return 128 if isinstance(sampler, samplers.PredictorCorrector) else 16


def named(cases):
    return [pytest.param(*case, id=f"{case[0]}") for case in cases]


@pytest.mark.parametrize(("sampler", "schedule"), named(EXACT))
def test_exact_score_recovers_correlated_data(sampler, schedule):
    data = Correlated(size(sampler))
    samples = run(sampler, data.score, schedule, stream(1000, size(sampler)))
    standard = data.project(samples)
    # 1,000 samples: means are known to 0.03, variances to 4.5 %.
    assert np.abs(standard.mean(axis=0)).max() < 0.15
    excess = np.cov(standard.T) - np.eye(size(sampler))
    assert np.abs(excess).max() < 0.25
    assert np.diag(excess).mean() == pytest.approx(0.0, abs=0.13)


@pytest.mark.parametrize(("sampler", "schedule"), named(EXACT))
def test_exact_score_recovers_the_weights_of_a_mixture(sampler, schedule):
    mixture = Mixture(size(sampler))
    samples = run(sampler, mixture.score, schedule, stream(1000, size(sampler)))
    at_centre = mixture.around_centre(samples)
    # The share is known to 0.014.
    assert at_centre.mean() == pytest.approx(0.25, abs=0.05)
    centre = mixture.centre.mean()
    assert samples[at_centre].mean() == pytest.approx(centre, abs=0.005)
    assert samples[~at_centre].std() == pytest.approx(0.1, rel=0.08)


def test_langevin_dynamics_at_one_level_recovers_the_data():
    sampler = samplers.Langevin(num_steps=1000, step_size=4e-4)
    samples = run(sampler, gaussian_score, SCHEDULE, stream())
    assert samples.mean() == pytest.approx(MEAN, abs=0.015)
    assert samples.std() == pytest.approx(SPREAD, rel=0.06)


def test_langevin_dynamics_at_one_level_does_not_find_the_weights():
    samples = run(
        samplers.Langevin(num_steps=1000),
        Mixture().score,
        SCHEDULE,
        stream(1000, 1),
        value_range=(0, 1),
    )
    # It keeps the half that uniform noise starts on the right.
    assert (samples > 0.5).mean() == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("denoise", [False, True])
def test_ladder_of_the_paper_recovers_the_data(denoise):
    samples = run(
        samplers.AnnealedLangevin(denoise=denoise),
        gaussian_score,
        SCHEDULE,
        stream(),
        value_range=(0, 1),
    )
    assert samples.mean() == pytest.approx(MEAN, abs=0.015)
    assert samples.std() == pytest.approx(SPREAD, rel=0.06)


COUNTED = [
    (samplers.AnnealedLangevin(steps_per_level=3), 10 * 3),
    (
        samplers.AnnealedLangevin(steps_per_level=12, denoise=True),
        10 * 12 + 1,
    ),
    (samplers.ConsistentAnnealedSampling(), 10 + 1),
    (samplers.ConsistentAnnealedSampling(denoise=False), 10),
    (samplers.DDPM(), 10),
    (samplers.DPMSolver(num_steps=7), 7),
    (samplers.DPMSolver(num_steps=7, churn=3.0), 7),
    (samplers.Euler(num_steps=7), 7),
    (samplers.Euler(num_steps=7, num_langevin_steps=12), 12 + 7),
    (samplers.Heun(num_steps=18), 2 * 18 - 1),
    (samplers.Heun(num_steps=4, num_langevin_steps=3), 3 + 2 * 4 - 1),
    (samplers.Langevin(num_steps=25), 25),
    (samplers.Langevin(num_steps=5, denoise=True), 5 + 1),
    (samplers.PredictorCorrector(), 2 * 10),
    (samplers.PredictorCorrector(num_corrector_steps=0), 10),
    (samplers.PredictorCorrector(num_corrector_steps=2), 3 * 10),
]


class Counter:
    """A score function that counts how often it is called."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x, sigma):
        self.calls += 1
        # Of unit normal data.
        return -x / (1.0 + ops.square(sigma)[:, None])


@pytest.mark.parametrize("inpaints", [False, True])
@pytest.mark.parametrize(("sampler", "expected"), named(COUNTED))
def test_evaluations_are_as_many_as_documented(
    eagerly, sampler, expected, inpaints
):
    counter = Counter()
    known = Known(np.zeros((2, 4), "float32"), np.array([[True], [False]]))
    with eagerly():
        run(sampler, counter, SCHEDULE, stream(2), known if inpaints else None)
    assert counter.calls == expected
    assert sampler.num_evaluations(SCHEDULE) == expected


@pytest.mark.parametrize(("sampler", "expected"), named(COUNTED))
def test_guidance_evaluates_each_network_as_often(eagerly, sampler, expected):
    better, worse = Counter(), Counter()
    score_fn = guidance.guided(
        ScoreFunction(better),
        ScoreFunction(worse),
        guidance.Guide(unconditional_share=1.0, sigma_range=(0.1, 0.5)),
        weight=2.0,
    )
    with eagerly():
        run(sampler, score_fn, SCHEDULE, stream(2))
    # Outside of its range the guide is evaluated too.
    assert (better.calls, worse.calls) == (expected, expected)


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch compiles nothing")
@pytest.mark.parametrize("kind", samplers.NAMES.values())
def test_nothing_is_compiled_again(kind):
    """Not for another level, seed, batch, or number of levels or steps."""
    counter = Counter()
    score_fn = ScoreFunction(counter)
    run(kind(), score_fn, SCHEDULE, stream(3))
    first = counter.calls
    # A loop of steps, and the denoising at the end.
    assert first == 1 + getattr(kind(), "denoise", False)
    run(kind(), score_fn, SCHEDULE, stream(3, seed=1, first=3))
    run(kind(), score_fn, NoiseSchedule.geometric(num_levels=17), stream(3))
    for name in ("num_steps", "steps_per_level", "num_corrector_steps"):
        if name in kind().settings():
            run(kind(**{name: 13}), score_fn, SCHEDULE, stream(3))
    assert counter.calls == first


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch compiles nothing")
def test_methods_along_the_flow_share_one_compiled_network():
    counter = Counter()
    score_fn = ScoreFunction(counter)
    known = Known(np.zeros((2, 2), "float32"), np.array([[True, False]]))
    for kind in (samplers.Heun, samplers.Euler, samplers.DPMSolver):
        run(kind(), score_fn, WIDE, stream(2, 2))
        run(kind(churn=1.0), score_fn, WIDE, stream(2, 2))
        run(kind(), score_fn, WIDE, stream(2, 2), known)
    assert counter.calls == 1


@pytest.mark.parametrize("kind", samplers.NAMES.values())
def test_known_pixels_end_at_the_smallest_noise(kind):
    images = np.full((50, 2), 0.25, "float32")
    known = Known(images, np.array([[True, False]]))
    # The others are random, as far as the data are.
    samples = run(kind(), gaussian_score, SCHEDULE, stream(50, 2), known)
    assert np.abs(samples[:, 0] - 0.25).max() < 0.05
    assert np.abs(samples[:, 1] - 0.25).max() > 0.1


@pytest.mark.parametrize("kind", samplers.NAMES.values())
def test_the_score_is_asked_within_the_schedule_from_large_to_small(
    eagerly, kind
):
    levels = []

    def score_fn(x, sigma):
        levels.append(float(ops.convert_to_numpy(sigma)[0]))
        return -x

    with eagerly():
        run(kind(), score_fn, SCHEDULE, stream(2))
    assert np.all(np.diff(levels) <= 0)
    SCHEDULE.check_sigma(np.array(levels))


@pytest.mark.parametrize("kind", samplers.NAMES.values())
def test_progress_ends_with_the_images(kind):
    reports = []
    x = kind().sample(
        gaussian_score,
        SCHEDULE,
        stream(2),
        on_progress=lambda *report: reports.append(report),
    )
    done = [done for _, done, _ in reports]
    assert done == sorted(set(done))
    assert {total for _, _, total in reports} == {done[-1]}
    if not getattr(kind(), "denoise", False):
        np.testing.assert_array_equal(
            *map(ops.convert_to_numpy, (reports[-1][0], x))
        )


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
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
        (
            samplers.AnnealedLangevin,
            {"steps_per_level": 10**15},
            "`steps_per_level` must be an integer of at most",
        ),
        (samplers.Langevin, {"num_steps": 1.5}, "num_steps=1.5"),
        (samplers.Langevin, {"sigma": 2.0}, r"within the schedule.*sigma=2\.0"),
        (samplers.Langevin, {"num_steps": 10**15}, "at most 10,000,000"),
        (samplers.Heun, {"num_steps": 1}, "at least 2.*num_steps=1"),
        (
            samplers.PredictorCorrector,
            {"num_corrector_steps": 1001},
            "`num_corrector_steps` must be an integer of at most 1,000",
        ),
        (samplers.Heun, {"num_steps": 10**15}, "at most 10,000,000.*10000"),
        (samplers.Euler, {"churn": -1.0}, r"`churn` must be.*churn=-1\.0"),
        (samplers.Heun, {"churn": float("nan")}, "`churn` must be.*churn=nan"),
        (samplers.Heun, {"churn": "1"}, "`churn` must be.*churn=1"),
        (samplers.Heun, {"churn_range": (2.0, 1.0)}, "must be a pair of noise"),
        (samplers.DPMSolver, {"churn_range": 1.0}, "must be a pair of noise"),
        (
            samplers.Heun,
            {"num_langevin_steps": -1},
            "`num_langevin_steps` must be an integer of at least 0",
        ),
        (
            samplers.ConsistentAnnealedSampling,
            {"step_size": 2e-5},
            r"no more noise than the next level has: from 4\.005e-05 to "
            r"0\.00015.*Received: step_size=2e-05",
        ),
        (
            samplers.ConsistentAnnealedSampling,
            {"step_size": 1.7e-4},
            "no more noise.*Received: step_size=0.00017",
        ),
        (
            samplers.ConsistentAnnealedSampling,
            {"step_size": -1.0},
            "`step_size` must be a number above 0",
        ),
        (
            samplers.ConsistentAnnealedSampling,
            {"denoise": "no"},
            "`denoise` must be one of",
        ),
        (
            samplers.PredictorCorrector,
            {"num_corrector_steps": -1},
            "`num_corrector_steps` must be an integer of at least 0",
        ),
        (
            samplers.PredictorCorrector,
            {"signal_to_noise": 0.0},
            "`signal_to_noise` must be a number above 0",
        ),
        (
            samplers.PredictorCorrector,
            {"predictor": "euler"},
            "`predictor` must be one of reverse_diffusion, ancestral.*'euler'",
        ),
    ],
)
def test_wrong_settings_are_refused(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        run(kind(**settings), gaussian_score, SCHEDULE, stream(2))


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


def test_every_sampler_has_its_name():
    assert list(samplers.NAMES) == sorted(samplers.NAMES)
    for kind in samplers.NAMES.values():
        module = kind.__module__.rpartition(".")[2]
        assert kind.name == module


def test_unknown_samplers_and_settings_are_refused():
    with pytest.raises(ValueError, match="one of annealed_langevin, consist"):
        samplers.make("ddim")
    with pytest.raises(ValueError, match="one of annealed_langevin.*Received"):
        samplers.make(["heun"])
    with pytest.raises(ValueError, match="langevin has the settings sigma, n"):
        samplers.make("langevin", {"churn": 1.0})
    with pytest.raises(ValueError, match="ddpm has no settings.*num_steps=3"):
        samplers.make("ddpm", {"num_steps": 3})
