"""Predictor and corrector, against their formulas."""

import numpy as np
import pytest
from exact_scores import Correlated
from keras import ops

from keras_ncsn.noise import NoiseSchedule
from keras_ncsn.samplers import DDPM, PredictorCorrector
from keras_ncsn.samplers.noise_stream import NoiseStream

LADDER = NoiseSchedule.geometric(20.0, 0.01, 31)


def run(sampler, score_fn, noise, schedule=LADDER):
    return ops.convert_to_numpy(sampler.sample(score_fn, schedule, noise))


@pytest.mark.parametrize("predictor", ["reverse_diffusion", "ancestral"])
def test_samples_equal_those_of_the_formulas(predictor):
    data = Correlated()
    sampler = PredictorCorrector(num_corrector_steps=2, predictor=predictor)
    samples = run(sampler, data.score, NoiseStream(0, 0, (8, 16)))

    noise = NoiseStream(0, 0, (8, 16))
    x = LADDER.sigma_max * noise.normal()
    for index, sigma in enumerate(LADDER.sigmas):
        after = LADDER.sigmas[index + 1] if index < 30 else 0.0

        def score(x, sigma=sigma):
            return (data.denoised(x, sigma) - x) / sigma**2

        for _ in range(2):
            z = noise.normal()
            norms = [np.linalg.norm(v, axis=1) for v in (z, score(x))]
            eta = 2.0 * (0.16 * norms[0] / norms[1])[:, None] ** 2
            eta = np.minimum(eta, sigma**2)
            x = x + eta * score(x) + np.sqrt(2.0 * eta) * z
        gap = sigma**2 - after**2
        added = {
            "reverse_diffusion": np.sqrt(gap) if after else 0.0,
            "ancestral": after / sigma * np.sqrt(gap),
        }[predictor]
        x = x + gap * score(x) + added * noise.normal()
    np.testing.assert_allclose(samples, x, atol=2e-3)


def test_without_a_corrector_the_ancestral_predictor_is_ddpm():
    data = Correlated()
    sampler = PredictorCorrector(num_corrector_steps=0, predictor="ancestral")
    samples = run(sampler, data.score, NoiseStream(0, 0, (8, 16)))
    expected = run(DDPM(), data.score, NoiseStream(0, 0, (8, 16)))
    np.testing.assert_allclose(samples, expected, atol=1e-4)


def test_the_step_of_an_image_does_not_depend_on_the_others():
    """The second image's score is a hundred times larger than the first's."""

    def score_fn(x, sigma):
        factors = ops.convert_to_tensor([[1.0], [100.0]])[: x.shape[0]]
        return -factors * x / ops.square(sigma)[:, None]

    sampler = PredictorCorrector(signal_to_noise=0.01)
    # Two levels that are almost equal, so that the predictor does little.
    schedule = NoiseSchedule.geometric(1.0, 0.99999, 2)
    both = run(sampler, score_fn, NoiseStream(0, 0, (2, 64)), schedule)
    alone = run(sampler, score_fn, NoiseStream(0, 0, (1, 64)), schedule)
    np.testing.assert_allclose(both[:1], alone, rtol=1e-5)


def test_where_the_score_is_zero_a_step_is_no_larger_than_the_noise():
    samples = run(
        PredictorCorrector(),
        lambda x, sigma: 0.0 * x,
        NoiseStream(0, 0, (9, 9)),
    )
    assert 1.0 < samples.std() / LADDER.sigma_max < 10.0
