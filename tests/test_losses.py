import numpy as np
import pytest
from keras import ops

from keras_ncsn.training import losses
from keras_ncsn.training.step import loss_per_image


def test_loss_of_the_exact_score_is_the_closed_form():
    """Data N(0, s^2): the score -x/(s^2 + sigma^2) leaves s^2/(s^2+sigma^2)."""
    rng = np.random.default_rng(0)
    spread, sigma, size = 0.3, 0.5, 784
    unit = rng.standard_normal((500, size), "float32")
    noisy = spread * rng.standard_normal((500, size), "float32") + sigma * unit
    score = -noisy / (spread**2 + sigma**2)
    loss = losses.denoising_score_matching(sigma * score, unit)
    expected = 0.5 * size * spread**2 / (spread**2 + sigma**2)
    assert float(ops.mean(loss)) == pytest.approx(expected, rel=0.01)


def test_loss_is_float32_where_float16_overflows():
    large = np.full((1, 2), 400.0, "float16")
    loss = losses.denoising_score_matching(large, np.zeros_like(large))
    assert float(loss[0]) == 160_000.0


def test_preconditioned_weight_equals_that_of_edm():
    """EDM's (s^2 + d^2)/(s d)^2, on the denoised image's error s * error."""
    sigma, spread = 0.7, 0.31
    edm = (sigma**2 + spread**2) / (sigma * spread) ** 2
    weight = losses.preconditioned_weight(sigma, spread)
    assert weight == pytest.approx(edm * sigma**2)


def test_zero_network_scores_half_the_number_of_pixels(make_zero):
    model = make_zero((28, 28, 1))
    rng = np.random.default_rng(0)
    images = ops.array(rng.random((64, 28, 28, 1), "float32"))
    unit = ops.array(rng.standard_normal((64, 28, 28, 1), "float32"))
    sigma = ops.full((64,), 0.1)
    loss = ops.mean(loss_per_image(model, images, sigma, unit))
    # 64 * 784 draws: the spread of the mean of z^2 / 2 is 392 * 0.0063.
    assert float(loss) == pytest.approx(392.0, rel=0.025)
