"""DDPM, in the terms of its paper."""

import numpy as np
import pytest
from exact_scores import Correlated
from keras import ops

from keras_ncsn.noise import NoiseSchedule, variance_preserving_sigmas
from keras_ncsn.samplers import DDPM
from keras_ncsn.samplers.ddpm import ancestral_table
from keras_ncsn.samplers.noise_stream import NoiseStream


def test_samples_equal_those_of_the_papers_algorithm():
    """Algorithm 2, on y = sqrt(alpha_bar) * x, from the same noise."""
    data = Correlated()
    betas = np.linspace(1e-4, 0.02, 50)
    schedule = NoiseSchedule.linear_beta(num_levels=50)
    x = DDPM().sample(data.score, schedule, NoiseStream(0, 0, (8, 16)))

    noise = NoiseStream(0, 0, (8, 16))
    alphas = 1.0 - betas
    alpha_bars = np.cumprod(alphas)
    y = noise.normal()
    for t in reversed(range(50)):
        root = np.sqrt(1.0 - alpha_bars[t])
        sigma = root / np.sqrt(alpha_bars[t])
        clean = data.denoised(y / np.sqrt(alpha_bars[t]), sigma)
        predicted = (y - np.sqrt(alpha_bars[t]) * clean) / root
        y = (y - betas[t] / root * predicted) / np.sqrt(alphas[t])
        z = noise.normal()
        if t > 0:
            variance = betas[t] * (1 - alpha_bars[t - 1]) / root**2
            y = y + np.sqrt(variance) * z
    np.testing.assert_allclose(ops.convert_to_numpy(x), y, atol=2e-5)


@pytest.mark.parametrize(("noisy", "order"), [(False, 2.0), (True, 1.5)])
def test_step_is_one_of_langevin_and_one_of_the_flow(noisy, order):
    """To first order in beta: what is left is of a higher order.

    y + beta / 2 * score + sqrt(beta) * z is a Langevin step of size beta / 2,
    and beta / 2 * (y + score) is a step along the probability flow. The drift
    differs from their sum by beta**2, and the noise by beta**1.5.
    """
    rng = np.random.default_rng(0)
    alpha_bar, mean, spread = 0.5, 0.3, 0.7
    y = rng.standard_normal(1000)
    z = rng.standard_normal(1000) * noisy
    variance = alpha_bar * spread**2 + 1.0 - alpha_bar
    score = (np.sqrt(alpha_bar) * mean - y) / variance

    def rest(beta):
        sigmas = np.sqrt(np.array([1.0, 1.0 - beta]) / alpha_bar - 1.0)
        _, _, drift, added = ancestral_table(sigmas)[0]
        # The score of x is that of y times the root of alpha_bar.
        root = np.sqrt(alpha_bar)
        x = y / root + drift * root * score + added * z
        after = np.sqrt(alpha_bar / (1.0 - beta)) * x
        langevin = beta / 2 * score + np.sqrt(beta) * z
        flow = beta / 2 * (y + score)
        return np.abs(after - (y + langevin + flow)).max()

    measured = np.log2(rest(2e-3) / rest(1e-3))
    assert measured == pytest.approx(order, abs=0.05)
    # The noise that is added, sqrt(beta) * z, is far larger than the rest.
    assert rest(1e-3) < 0.01


def test_levels_are_those_of_the_paper():
    table = ancestral_table(variance_preserving_sigmas())
    assert table.shape == (1000, 4)
    np.testing.assert_array_equal(table[1:, 0], table[:-1, 1])
    # The last step returns the denoised images.
    sigma, end, drift, added = table[-1]
    assert (end, added) == (0.0, 0.0)
    assert drift == pytest.approx(sigma**2)
