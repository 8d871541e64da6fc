"""The loss on images held out, and its noise levels."""

import keras
import numpy as np
import pytest

import keras_ncsn
from keras_ncsn.training.noise_levels import sigma_quantiles
from keras_ncsn.training.validation import validation_losses


def test_validation_of_a_zero_network_is_half_the_pixels(make_zero):
    model = make_zero((16, 16, 1), weighting="edm", data_std=0.5)
    images = np.zeros((64, 16, 16, 1), "uint8")
    losses = validation_losses(model, images, [1.0, 0.5])
    weights = np.array([(s**2 + 0.25) / 0.25 for s in (1.0, 0.5)])
    # 64 * 256 squares of unit normals: half a sum of mean 128.
    np.testing.assert_allclose(losses / weights, 128.0, rtol=0.04)
    again = validation_losses(model, images, [1.0, 0.5])
    np.testing.assert_array_equal(again, losses)


def test_condition_is_refused_for_a_model_that_takes_none(make_zero):
    images = np.zeros((4, 8, 8, 1), "uint8")
    message = r"`condition` must be left out.*Received: condition=\[0, 1, 2"
    with pytest.raises(ValueError, match=message):
        validation_losses(
            make_zero((8, 8, 1)), images, [1.0], condition=[0, 1, 2, 3]
        )


@pytest.mark.parametrize(
    "distribution", ["ladder", "log_uniform", "log_normal"]
)
def test_validation_levels_are_quantiles_of_those_in_training(
    make_model, distribution
):
    model = make_model(sigma_distribution=distribution)
    sigmas = sigma_quantiles(model, 10)
    images = keras.ops.zeros((100_000, 1))
    drawn = keras_ncsn.training.step.draw_noise(model, images)[0]
    drawn = np.sort(keras.ops.convert_to_numpy(drawn))[::-1]
    shares = np.quantile(drawn, 1 - (np.arange(10) + 0.5) / 10)
    np.testing.assert_allclose(sigmas, shares, rtol=0.05)
