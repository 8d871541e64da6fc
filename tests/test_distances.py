import itertools
import math

import numpy as np
import pytest

from keras_ncsn import ladder


def brute_force_distance(images):
    flat = images.reshape(len(images), -1).astype("float64")
    return max(
        np.linalg.norm(a - b) for a, b in itertools.combinations(flat, 2)
    )


def test_distance_of_two_points_is_theirs():
    images = np.zeros((2, 4, 4, 1))
    images[1, 0, 0], images[1, 3, 3] = 3.0, 4.0
    assert ladder.largest_distance(images) == 5.0


def test_distance_of_black_and_white_is_the_diagonal_of_the_cube():
    images = np.zeros((5, 8, 8, 3), "uint8")
    images[3] = 255
    assert ladder.largest_distance(images) == pytest.approx(math.sqrt(192))


@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("spread", [0.0, 1.0, 5.0])
def test_distance_is_that_of_all_pairs(monkeypatch, chunk, spread):
    # Without spread all are as far from the mean and no pair is ruled out.
    rng = np.random.default_rng(0)
    images = rng.standard_normal((60, 16))
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    images *= 1.0 + spread * rng.random((60, 1))
    images = images.reshape(60, 4, 4, 1)
    monkeypatch.setattr(ladder, "MAX_CHUNK", chunk)
    assert ladder.largest_distance(images) == pytest.approx(
        brute_force_distance(images.astype("float32")), rel=1e-12
    )


def test_distance_far_from_the_origin_keeps_its_digits():
    images = 1000.0 + np.array([[0.0, 0.0], [0.25, 0.0], [0.125, 0.5]])
    assert ladder.largest_distance(images) == math.hypot(0.125, 0.5)


def test_distance_of_a_sample_is_below_that_of_all():
    images = np.random.default_rng(0).random((200, 10))
    whole = ladder.largest_distance(images)
    sample = ladder.largest_distance(images, num_images=20, seed=3)
    assert 0 < sample < whole
    assert ladder.largest_distance(images, num_images=20, seed=3) == sample
    assert ladder.largest_distance(images, num_images=20, seed=4) != sample
    assert ladder.largest_distance(images, num_images=1000) == whole


@pytest.mark.parametrize(
    ("images", "kwargs", "message"),
    [
        (np.zeros((1, 4)), {}, r"at least two.*shape=\(1, 4\)"),
        (np.zeros(4), {}, r"at least two.*shape=\(4,\)"),
        (np.zeros((4, 0)), {}, r"at least two.*shape=\(4, 0\)"),
        (np.full((2, 4), np.nan), {}, "finite numbers.*float64"),
        (np.full((2, 4), "a"), {}, "finite numbers.*<U1"),
        (np.zeros((2, 4)), {"num_images": 1}, "at least 2.*num_images=1"),
        (np.zeros((2, 4)), {"num_images": 2.0}, "integer.*num_images=2.0"),
        (np.zeros((2, 4)), {"num_images": 2, "seed": -1}, "seed=-1"),
    ],
)
def test_largest_distance_rejects(images, kwargs, message):
    with pytest.raises(ValueError, match=message):
        ladder.largest_distance(images, **kwargs)
