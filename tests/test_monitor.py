"""Sampling that diverges ends with a sentence."""

import numpy as np
import pytest
from exact_scores import gaussian_score
from keras import ops

from keras_ncsn import samplers
from keras_ncsn.noise import NoiseSchedule
from keras_ncsn.samplers.known import Known
from keras_ncsn.samplers.noise_stream import NoiseStream

LADDER = NoiseSchedule.geometric(1.0, 0.01, 10)


def sample(sampler, score_fn, **arguments):
    noise = NoiseStream(0, 0, (4, 2))
    return sampler.sample(score_fn, LADDER, noise, **arguments)


def test_a_step_that_is_too_large_is_told_with_its_level_and_step():
    sampler = samplers.AnnealedLangevin(steps_per_level=20, step_size=3e-4)
    with pytest.raises(
        FloatingPointError,
        match=r"diverged at noise level 1, after 10 of 200 steps: the root "
        r"mean square of the images became \d.*Take smaller steps",
    ):
        sample(sampler, gaussian_score, value_range=(0.0, 1.0))


def test_divergence_at_a_later_level_names_that_level():
    def score_fn(x, sigma):
        wrong = ops.square(sigma)[:, None] < 0.1
        return ops.where(wrong, 1e6 * x, -x)

    with pytest.raises(
        FloatingPointError, match=r"noise level 0\.2154, after 40 of 100 steps"
    ):
        sample(samplers.AnnealedLangevin(steps_per_level=10), score_fn)


@pytest.mark.parametrize("inpaints", [False, True])
@pytest.mark.parametrize("kind", samplers.NAMES.values())
def test_nan_is_told_by_every_sampler(kind, inpaints):
    known = Known(np.zeros((4, 2), "float32"), np.array([[True, False]]))
    with pytest.raises(FloatingPointError, match=r"diverged.*became nan"):
        sample(
            kind(),
            lambda x, sigma: np.nan * x,
            known=known if inpaints else None,
        )


@pytest.mark.parametrize("kind", samplers.NAMES.values())
def test_images_that_grow_are_told_by_every_sampler(kind):
    with pytest.raises(FloatingPointError, match="diverged (at|between) noise"):
        sample(kind(), lambda x, sigma: 1e5 * x)


def test_divergence_in_the_last_evaluation_is_told():
    def score_fn(x, sigma):
        return ops.where(sigma[:, None] < 0.0101, 1e9 * x, -x)

    sampler = samplers.Euler(num_steps=5)
    with pytest.raises(FloatingPointError, match="level 0.01, after 5 of 5"):
        sample(sampler, score_fn, value_range=(0.0, 1.0))


def test_growth_that_the_last_level_stops_is_told():
    """Too few steps to grow far, in the default ladder."""
    with pytest.raises(FloatingPointError, match="became [56]"):
        samplers.AnnealedLangevin(steps_per_level=3, step_size=2.1e-4).sample(
            lambda x, sigma: -x / ops.square(sigma)[:, None],
            NoiseSchedule.geometric(),
            NoiseStream(0, 0, (4, 1000)),
            value_range=(0.0, 1.0),
        )


def test_a_network_that_knows_nothing_is_no_divergence():
    """Only the noise of the steps adds up, as early in training."""
    samples = samplers.AnnealedLangevin().sample(
        lambda x, sigma: 0.0 * x,
        NoiseSchedule.geometric(),
        NoiseStream(0, 0, (4, 100)),
        value_range=(0.0, 1.0),
    )
    assert ops.convert_to_numpy(samples).std() == pytest.approx(7.9, rel=0.1)


@pytest.mark.parametrize("churn", [0.0, 40.0])
@pytest.mark.parametrize("value_range", [None, (0.0, 1.0)])
def test_large_noise_is_no_divergence(churn, value_range):
    samples = samplers.Heun(churn=churn).sample(
        gaussian_score,
        NoiseSchedule.geometric(1000.0, 0.01),
        NoiseStream(0, 0, (4, 100)),
        value_range=value_range,
    )
    assert ops.convert_to_numpy(samples).mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("kind", [samplers.DDPM, samplers.PredictorCorrector])
def test_steps_that_end_at_several_levels_are_told_with_both_ends(kind):
    with pytest.raises(
        FloatingPointError,
        match=r"between noise levels 1 and [\d.]+, after 10 of [12]0 steps",
    ):
        sample(kind(), lambda x, sigma: np.nan * x)


@pytest.mark.parametrize("mean", [50.0, 300.0, 10_000.0])
def test_data_far_from_the_noise_are_no_divergence(mean):
    """So many times as far as the largest noise level."""
    samples = samplers.AnnealedLangevin().sample(
        lambda x, sigma: (mean - x) / (1.0 + ops.square(sigma)[:, None]),
        NoiseSchedule.geometric(),
        NoiseStream(0, 0, (4, 2)),
    )
    assert ops.convert_to_numpy(samples).mean() > 0.9 * mean


def test_generate_raises_before_it_returns_images(make_zero):
    model = make_zero((8, 8, 1))
    with pytest.raises(FloatingPointError, match="diverged"):
        model.generate(1, seed=0, step_size=1e9)
