"""Consistent annealed sampling keeps to the noise of the ladder."""

import numpy as np
import pytest
from exact_scores import Correlated
from keras import ops

from keras_ncsn import NCSNModel
from keras_ncsn.networks import MLP
from keras_ncsn.noise import NoiseSchedule
from keras_ncsn.samplers import DDPM, ConsistentAnnealedSampling
from keras_ncsn.samplers.noise_stream import NoiseStream

LADDER = NoiseSchedule.geometric(20.0, 0.01, 41)
RATIO = float(LADDER.sigmas[1] / LADDER.sigmas[0])


def run(sampler, score_fn, schedule, shape=(8, 16), **arguments):
    noise = NoiseStream(0, 0, shape)
    return ops.convert_to_numpy(
        sampler.sample(score_fn, schedule, noise, **arguments)
    )


def of_share(share):
    return ConsistentAnnealedSampling(
        step_size=share * LADDER.sigma_min**2, denoise=False
    )


@pytest.mark.parametrize("step_size", [None, 5e-5, 1.5e-4])
@pytest.mark.parametrize("value_range", [None, (-1.0, 1.0)])
def test_images_have_the_noise_of_their_level(step_size, value_range):
    """Of one black image, all that is left is noise."""
    frames = []
    ConsistentAnnealedSampling(step_size=step_size).sample(
        lambda x, sigma: -x / ops.square(sigma)[:, None],
        LADDER,
        NoiseStream(0, 0, (20, 1000)),
        on_progress=lambda x, done, total: frames.append(x),
        value_range=value_range,
    )
    # A frame each ten levels.
    spreads = [ops.convert_to_numpy(x).std() for x in frames[:-1]]
    np.testing.assert_allclose(spreads, LADDER.sigmas[10::10], rtol=0.03)


def test_a_large_share_is_the_step_of_ddpm():
    data = Correlated()
    samples = run(of_share(1.0 - RATIO**2), data.score, LADDER)
    ancestral = run(DDPM(), data.score, LADDER)
    # All but the last step, which here leaves some noise.
    last = RATIO**2 * LADDER.sigma_min
    np.testing.assert_allclose(samples, ancestral, atol=5.0 * last)


def test_the_least_share_is_eulers_step_along_the_flow():
    data = Correlated()
    samples = run(of_share((1.0 + 1e-9) * (1.0 - RATIO)), data.score, LADDER)
    x = LADDER.sigma_max * NoiseStream(0, 0, (8, 16)).normal()
    for sigma in LADDER.sigmas:
        x = x + (1.0 - RATIO) * (data.denoised(x, sigma) - x)
    np.testing.assert_allclose(samples, x, atol=1e-3)


def test_default_step_is_near_that_of_the_authors():
    """For NCSNv2 on CIFAR-10: 232 levels from 50 to 0.01."""
    schedule = NoiseSchedule.geometric(50.0, 0.01, 232)
    table = ConsistentAnnealedSampling()._table(schedule)
    step_sizes = 1e-4 * table[:, 2] / np.square(schedule.sigmas)
    np.testing.assert_allclose(step_sizes, 5.4e-6, rtol=0.01)
    ConsistentAnnealedSampling(step_size=5.6e-6).check_schedule(schedule)


def test_a_model_refuses_a_step_that_its_ladder_does_not_allow():
    sampler = ConsistentAnnealedSampling(step_size=5.6e-6)
    with pytest.raises(ValueError, match="no more noise.*step_size=5.6e-06"):
        NCSNModel(MLP(width=4), value_range=None, sampler=sampler)
