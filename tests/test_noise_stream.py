"""The random numbers of the samplers."""

import numpy as np

from keras_ncsn.samplers.noise_stream import NoiseStream


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
