"""Likelihood and typicality of a model, against closed forms."""

import numpy as np
import pytest
from contract import randomize
from keras import ops
from small_networks import two_convolutions
from test_conditions import MEANS, STDS, gaussian_model

from keras_ncsn import NCSNModel, NoiseSchedule
from keras_ncsn.networks import MLP
from keras_ncsn.samplers.noise_stream import NoiseStream

QUIET = {"verbose": 0}
RANGES = [
    (None, False),
    ((0.0, 255.0), False),
    ((-1.0, 1.0), True),
    ((0.0, 255.0), True),
]


def normal_model(value_range=None, variance_preserving=False, size=4):
    """A network that is the exact score of independent normal values."""
    low, high = value_range or (0.0, 1.0)
    mean, spread = low + 0.6 * (high - low), 0.1 * (high - low)
    schedule = NoiseSchedule.geometric(1000 * spread, 0.01 * spread, 40)
    network = {"data_mean": mean, "data_std": spread}
    if variance_preserving:
        # The network sees values in [-1, 1].
        schedule = NoiseSchedule.linear_beta()
        network = {"data_mean": 0.2, "data_std": 0.2}
    network = MLP(
        size,
        width=4,
        num_layers=1,
        variance_preserving=variance_preserving,
        **network,
    )
    # Its raw output is 0 then: the score of a normal distribution.
    network.set_weights([np.zeros_like(x) for x in network.get_weights()])
    model = NCSNModel(network, schedule, value_range=value_range)
    return model, mean, spread


def points(model, mean, spread, count):
    shape = count, *model.image_shape
    z = np.random.default_rng(0).standard_normal(shape, "float32")
    x = mean + spread * z
    return x if model.value_range is None else np.clip(x, *model.value_range)


@pytest.mark.parametrize(("value_range", "variance_preserving"), RANGES)
def test_likelihood_is_in_units_of_the_images(value_range, variance_preserving):
    model, mean, spread = normal_model(value_range, variance_preserving)
    x = points(model, mean, spread, 8)
    # The Jacobian is diagonal, for which random signs are exact.
    found = model.log_likelihood(x, num_steps=150, **QUIET)
    smallest = model.schedule.sigma_min
    if variance_preserving:
        smallest *= (value_range[1] - value_range[0]) / 2
    variance = spread**2 + smallest**2
    z = (x - mean) ** 2 / variance
    exact = -0.5 * np.sum(z + np.log(2 * np.pi * variance), axis=1)
    assert found.dtype == np.float64
    # Without a range, the noise at the start is around 0, not around the mean.
    atol = 0.05 if value_range is None else 0.02
    np.testing.assert_allclose(found, exact, atol=atol)


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
def test_bits_of_grey_levels_are_the_entropy(value_range):
    model, _, _ = normal_model(value_range)
    rng = np.random.default_rng(0)
    images = (256 * (0.6 + 0.1 * rng.standard_normal((500, 4)))).astype("uint8")
    bits, errors = model.bits_per_dimension(
        images, 2, seed=0, return_error=True, batch_size=500, **QUIET
    )
    entropy = np.log2(25.6 * np.sqrt(2 * np.pi * np.e))
    # 2,000 values: the mean is known to 0.023 bits.
    assert bits.mean() == pytest.approx(entropy, abs=0.07)
    assert errors.max() < 1e-3


def test_bits_without_a_range_are_those_of_the_density():
    model, mean, spread = normal_model()
    x = points(model, mean, spread, 3)
    nats = model.log_likelihood(x, 4, num_steps=10, **QUIET)
    bits = model.bits_per_dimension(x, 4, num_steps=10, **QUIET)
    np.testing.assert_allclose(bits, -nats / (4 * np.log(2)), rtol=1e-9)


def test_uint8_images_get_noise_of_one_grey_level():
    model, _, _ = normal_model((-1.0, 1.0))
    images = np.random.default_rng(0).integers(0, 256, (3, 4), "uint8")
    noise = NoiseStream(5, 0, (3, 4)).uniform()
    floats = 2 * (images + noise) / 256 - 1
    settings = {"num_probes": 4, "num_steps": 10, **QUIET}
    found = model.log_likelihood(images, seed=5, **settings)
    expected = model.log_likelihood(floats, **settings)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    # Without a range, uint8 are numbers like others.
    model, _, _ = normal_model()
    found = model.log_likelihood(images, **settings)
    expected = model.log_likelihood(images.astype("float32"), **settings)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_likelihood_is_that_of_the_label():
    x = np.array([[-2.0], [1.5], [2.0]], "float32")
    model = gaussian_model()
    found = model.log_likelihood(
        x, labels=["left", 1, "none"], num_steps=100, **QUIET
    )
    low, high = model.schedule.sigma_min**2, model.schedule.sigma_max**2
    stretch = (STDS**2 + high) / (STDS**2 + low)
    end = MEANS + (x[:, 0] - MEANS) * np.sqrt(stretch)
    exact = -0.5 * (end**2 / high + np.log(2 * np.pi * high / stretch))
    np.testing.assert_allclose(found, exact, atol=0.01)


@pytest.fixture
def model(make_model):
    model = make_model()
    randomize(model.network)
    return model


def test_image_depends_on_the_seed_and_its_index_alone(model, images):
    few = {"num_probes": 2, "num_steps": 3, **QUIET}
    images = (255 * images[:5]).astype("uint8")
    found = model.log_likelihood(images, seed=1, **few)
    again = model.log_likelihood(images, seed=1, **few)
    np.testing.assert_array_equal(found, again)
    batches = model.log_likelihood(images, seed=1, batch_size=2, **few)
    np.testing.assert_allclose(batches, found, rtol=1e-4)
    changed = images.copy()
    changed[3] = 255 - changed[3]
    other = model.log_likelihood(changed, seed=1, **few)
    same = np.isclose(other, found, rtol=1e-5)
    np.testing.assert_array_equal(same, [True, True, True, False, True])
    assert not np.isclose(
        model.log_likelihood(images, seed=2, **few), found, rtol=1e-5
    ).any()


def test_error_is_that_of_the_probes(model, images):
    few = {"seed": 0, "num_steps": 3, "return_error": True, **QUIET}
    x = images[:2]
    value, error = model.log_likelihood(x, num_probes=30, **few)
    exact, none = model.log_likelihood(x, num_probes=64, **few)
    assert value.shape == error.shape == none.shape == (2,)
    assert not none.any()
    assert np.all(np.abs(value - exact) < 4 * error)
    _, smaller = model.log_likelihood(x, num_probes=60, **few)
    np.testing.assert_allclose(error / smaller, np.sqrt(2), rtol=0.4)


def test_tensors_and_lists_are_images_too(model, images):
    few = {"seed": 0, "num_steps": 2, **QUIET}
    found = model.log_likelihood(images[:2], **few)
    for same in (ops.convert_to_tensor(images[:2]), images[:2].tolist()):
        again = model.log_likelihood(same, **few)
        np.testing.assert_allclose(again, found, rtol=1e-6)


@pytest.mark.parametrize("method", ["score_norms", "likelihood"])
def test_most_likely_point_is_not_typical(method):
    """The mean of many normal values, where likelihood fails."""
    model, mean, spread = normal_model(size=64)
    x = points(model, mean, spread, 300)
    reference = model.typicality_reference(x[100:], method, seed=0, **QUIET)
    wide = mean + 1.5 * (x[:100] - mean)
    likely = np.full((1, 64), mean, "float32")
    typical, wide, likely = (
        model.typicality(images, reference, seed=1, **QUIET)
        for images in (x[:100], wide, likely)
    )
    assert typical.max() <= 0.0
    # Here all features depend on the distance from the mean alone.
    assert np.mean(typical**2) == pytest.approx(1, rel=0.35)
    assert np.median(wide) < typical.min()
    assert likely[0] < typical.min()


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("log_likelihood", {"num_probes": 0}, "num_probes=0"),
        ("log_likelihood", {"num_steps": 0}, "num_steps=0"),
        ("log_likelihood", {"batch_size": 0}, "batch_size=0"),
        ("log_likelihood", {"seed": -1}, "seed=-1"),
        ("log_likelihood", {"labels": 1}, "`labels` needs a network"),
        (
            "log_likelihood",
            {"return_error": True},
            "`num_probes` must be at least 2 .*num_probes=1",
        ),
        (
            "bits_per_dimension",
            {"images": np.zeros((8, 8, 1))},
            r"`images` must have the shape .*images.shape=\(8, 8, 1\)",
        ),
        (
            "bits_per_dimension",
            {"images": np.full((1, 8, 8, 1), 2.0)},
            r"`images` must lie in \[0, 1\]",
        ),
        (
            "typicality_reference",
            {"method": "entropy"},
            "`method` must be one of score_norms, likelihood.*'entropy'",
        ),
        (
            "typicality_reference",
            {"images": np.zeros((11, 8, 8, 1))},
            "`images` must be at least 12 images.*Received: 11",
        ),
        (
            "typicality_reference",
            {"method": "likelihood"},
            "`images` must be at least 3 images.*Received: 2",
        ),
        (
            "typicality",
            {"reference": np.zeros((20, 8, 8, 1))},
            "`reference` must be what .*Received: a ndarray",
        ),
    ],
)
def test_wrong_arguments_are_refused(make_model, method, arguments, message):
    model = make_model(two_convolutions())
    arguments = {"images": np.zeros((2, 8, 8, 1))} | arguments
    with pytest.raises(ValueError, match=message) as caught:
        getattr(model, method)(**arguments)
    assert "\n" not in str(caught.value)
