"""What a model is for, on every backend."""

import functools

import keras
import numpy as np
import pytest
from contract import assert_equal, randomize
from keras import ops
from small_networks import two_convolutions

import keras_ncsn
from keras_ncsn import samplers
from keras_ncsn.noise import NoiseSchedule
from keras_ncsn.samplers.known import Known
from keras_ncsn.samplers.noise_stream import NoiseStream

FEW = {"steps_per_level": 2}


@pytest.fixture(scope="module")
def model():
    """One for all that only call it: it compiles each sampler once."""
    keras.utils.set_random_seed(0)
    model = keras_ncsn.NCSNModel(two_convolutions(), seed=0)
    # With larger weights, sampling would diverge.
    randomize(model.network, scale=0.1)
    return model


@pytest.mark.parametrize(
    ("sampler", "settings"),
    [
        ("annealed_langevin", FEW),
        ("langevin", {"num_steps": 12}),
        ("heun", {"num_steps": 3}),
        ("dpm_solver", {"num_steps": 3, "num_langevin_steps": 2}),
        ("ddpm", {}),
        ("consistent_annealed_sampling", {}),
        ("predictor_corrector", {}),
    ],
)
@pytest.mark.parametrize(
    "schedule",
    [NoiseSchedule.geometric(), NoiseSchedule.linear_beta(num_levels=5)],
)
def test_images_depend_on_the_seed_and_not_on_the_batch(
    make_model, schedule, sampler, settings
):
    model = make_model(schedule=schedule)
    run = {"sampler": sampler, **settings}
    images = model.generate(7, seed=1, **run)
    assert images.shape == (7, 8, 8, 1)
    assert images.dtype == np.float32
    assert 0 <= images.min() < images.max() <= 1
    np.testing.assert_array_equal(images, model.generate(7, seed=1, **run))
    pieces = model.generate(7, seed=1, batch_size=3, **run)
    np.testing.assert_allclose(images, pieces, atol=1e-4)
    assert np.abs(images - model.generate(7, seed=2, **run)).max() > 0.01


@pytest.mark.parametrize("name", ["refinenet", "ncsnv2", "unet", "mlp"])
@pytest.mark.parametrize("sampler", ["annealed_langevin", "heun"])
def test_each_sampler_runs_on_each_network(networks, name, sampler):
    network, value_range = networks(name)
    model = keras_ncsn.NCSNModel(
        network,
        NoiseSchedule.geometric(1.0, 0.01, 3),
        value_range=value_range,
    )
    settings = {"annealed_langevin": FEW, "heun": {"num_steps": 3}}[sampler]
    samples = model.generate(2, seed=0, sampler=sampler, **settings)
    assert samples.shape == (2, *model.image_shape)
    assert np.all(np.isfinite(samples))


@pytest.fixture(scope="module")
def networks():
    """Makes each network once: it is only called."""
    sigmas = NoiseSchedule.geometric(1.0, 0.01, 3).sigmas
    nets = keras_ncsn.networks

    @functools.cache
    def make(name):
        if name == "mlp":
            return nets.MLP(width=8), None
        if name == "unet":
            return nets.UNet((4, 4, 1), widths=(4,), num_blocks=1), (0, 1)
        ladder = sigmas if name == "refinenet" else None
        small = {"width": 4, "blocks_per_stage": 1}
        return nets.RefineNet((4, 4, 1), sigmas=ladder, **small), (0, 1)

    return make


def test_trajectory_ends_in_the_images(model):
    run = {"seed": 3, "steps_per_level": 15}
    frames = model.generate(2, return_trajectory=True, **run)
    # Ten levels, each in pieces of ten and five steps.
    assert frames.shape == (2, 20, 8, 8, 1)
    np.testing.assert_array_equal(frames[:, -1], model.generate(2, **run))


@pytest.mark.parametrize(
    ("shape", "num_samples", "expected"),
    [
        ((8, 8, 1), 1, (8, 8, 1)),
        ((8, 8, 1), 3, (3, 8, 8, 1)),
        ((2, 8, 8, 1), 1, (2, 8, 8, 1)),
        ((2, 8, 8, 1), 3, (2, 3, 8, 8, 1)),
    ],
)
def test_shapes_of_inpaint(model, shape, num_samples, expected):
    mask = np.arange(8) < 4
    mask = np.broadcast_to(mask, (8, 8))
    images = np.full(shape, 0.25, "float32")
    filled = model.inpaint(images, mask, num_samples, seed=0, **FEW)
    assert filled.shape == expected
    assert np.all(filled[..., :4, :] == np.float32(0.25))
    assert np.all(filled[..., 4:, :] != np.float32(0.25))


@pytest.mark.parametrize("sampler", ["annealed_langevin", "heun"])
@pytest.mark.parametrize(
    "shape", [(8, 8), (8, 8, 1), (5, 8, 8, 1), (1, 8, 8, 1)]
)
@pytest.mark.parametrize("dtype", ["bool", "uint8", "float32"])
def test_known_pixels_are_kept_to_the_bit(model, images, shape, dtype, sampler):
    mask = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    settings = {"annealed_langevin": {"steps_per_level": 1}, "heun": {}}
    filled = model.inpaint(
        images[:5], mask, seed=0, sampler=sampler, **settings[sampler]
    )
    mask = mask.reshape(*shape, 1) if len(shape) == 2 else mask
    known = np.broadcast_to(mask.astype(bool), filled.shape)
    np.testing.assert_array_equal(filled[known], images[:5][known])


@pytest.mark.parametrize(
    ("value_range", "expected"), [(None, 51.0), ((-1.0, 1.0), -0.6)]
)
def test_inpaint_maps_uint8_to_the_range(make_model, value_range, expected):
    model = make_model(value_range=value_range)
    image = np.full((8, 8, 1), 51, "uint8")
    filled = model.inpaint(image, np.eye(8), seed=0, steps_per_level=1)
    np.testing.assert_allclose(filled[np.eye(8) == 1], expected, rtol=1e-6)


def test_inpaint_takes_uint8_and_any_batch_size(model):
    images = np.full((3, 8, 8, 1), 51, "uint8")
    mask = np.eye(8)
    run = {"seed": 0, "num_samples": 2, **FEW}
    filled = model.inpaint(images, mask, **run)
    pieces = model.inpaint(images, mask, batch_size=4, **run)
    np.testing.assert_allclose(filled, pieces, atol=1e-4)
    assert np.all(filled[:, :, mask == 1] == np.float32(51) / np.float32(255))
    assert np.abs(filled[:, 0] - filled[:, 1]).max() > 0.01


def test_completions_depend_on_what_is_known():
    """Data of one brightness an image: what is known tells what is not."""

    def score(x, sigma):
        # Of images of 4 equal pixels, brightness N(0, 1), plus noise.
        mean = ops.mean(x, axis=-1, keepdims=True)
        variance = ops.square(sigma)[:, None]
        posterior = mean * 4.0 / (4.0 + variance)
        return (posterior - x) / variance

    given = np.repeat(np.float32([[-1.0], [1.0]]), 50, axis=0)
    known = Known(np.tile(given, 4), np.array([[True, True, False, False]]))
    filled = ops.convert_to_numpy(
        samplers.AnnealedLangevin(steps_per_level=50, step_size=5e-4).sample(
            score,
            NoiseSchedule.geometric(4.0, 0.05, 15),
            NoiseStream(0, 0, (100, 4)),
            known,
        )
    )
    assert filled[:50, 2:].mean() == pytest.approx(-1.0, abs=0.1)
    assert filled[50:, 2:].mean() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    "schedule", [NoiseSchedule.geometric(), NoiseSchedule.linear_beta()]
)
def test_denoise_returns_the_mean_of_the_clean_image(gaussian_model, schedule):
    """Tweedie's formula, on data whose score is known."""
    model, mean, spread = gaussian_model(schedule)
    sigma = np.array([0.05, 0.5], "float32")
    images = np.random.default_rng(0).random((2, 4, 4, 1), "float32")
    inner = model.to_sampled(images)
    scale = ops.convert_to_numpy(schedule.scale(sigma))[:, None, None, None]
    levels = sigma[:, None, None, None]
    posterior = (spread**2 * inner + levels**2 * mean) / (spread**2 + levels**2)
    expected = model.from_sampled(posterior, clip=False)
    assert_equal(model.denoise(scale * inner, sigma), expected, rtol=1e-4)


@pytest.mark.parametrize(
    "schedule", [NoiseSchedule.geometric(20.0), NoiseSchedule.linear_beta()]
)
def test_samples_of_an_exact_network_have_the_right_distribution(
    gaussian_model, schedule
):
    model, mean, spread = gaussian_model(schedule)
    images = model.generate(
        200, seed=0, batch_size=200, sampler="heun", num_steps=40
    )
    inner = model.to_sampled(images)
    assert inner.mean() == pytest.approx(mean, abs=0.02)
    assert inner.std() == pytest.approx(spread, rel=0.05)


@pytest.fixture
def gaussian_model():
    """A model whose network is the exact score of Gaussian data."""
    mean, spread = 0.5, 0.1

    def make(schedule):
        network = keras_ncsn.networks.UNet(
            (4, 4, 1),
            widths=(4,),
            num_blocks=1,
            attention_stages=(),
            data_mean=mean,
            data_std=spread,
            variance_preserving=schedule.variance_preserving,
        )
        return keras_ncsn.NCSNModel(network, schedule), mean, spread

    return make


def test_score_equals_the_output_of_the_network(model, images):
    sigma = np.array([0.5, 0.01, 1.0], "float32")
    expected = model.network([ops.array(images[:3]), ops.array(sigma)])
    score = model.score(images[:3], sigma, batch_size=2)
    assert score.dtype == np.float32
    assert_equal(score, expected, rtol=1e-5)
    assert_equal(model.score(images[:3], 0.5)[:1], score[:1], rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.generate(0), "`num_images` .*at least 1.*num_images=0"),
        (lambda m: m.generate(1.5), "num_images=1.5"),
        (lambda m: m.generate(True), "num_images=True"),
        (lambda m: m.generate(1, seed=False), "seed=False"),
        (lambda m: m.generate(1, seed=-1), "`seed` .*at least 0.*seed=-1"),
        (lambda m: m.generate(1, batch_size=0), "batch_size=0"),
        (lambda m: m.generate(1, sampler="ddim"), "sampler='ddim'"),
        (
            lambda m: m.generate(1, sampler="heun", step_size=1.0),
            "heun has the settings num_steps.*step_size=1.0",
        ),
        (
            lambda m: m.score(np.zeros((1, 8, 8, 1)), 2.0),
            r"within the schedule.*sigma=2\.0",
        ),
        (
            lambda m: m.score(np.zeros((2, 8, 8, 1)), np.ones(3)),
            r"sigma.shape=\(3,\), noisy.shape=\(2, 8, 8, 1\)",
        ),
        (
            lambda m: m.denoise(np.full((1, 8, 8, 1), np.nan), 0.5),
            "`noisy` must be finite",
        ),
        (
            lambda m: m.inpaint(np.zeros((9, 8, 1)), np.ones((8, 8))),
            r"`images` must have the shape \(batch, 8, 8, 1\)",
        ),
        (
            lambda m: m.inpaint(np.full((8, 8, 1), 2.0), np.ones((8, 8))),
            r"must lie in \[0, 1\].*max\(images\)=2",
        ),
        (
            lambda m: m.inpaint(np.zeros((8, 8, 1)), np.full((8, 8), 2)),
            "`known_mask` must hold True or 1.*value 2",
        ),
        (
            lambda m: m.inpaint(np.zeros((8, 8, 1)), np.ones((4, 4))),
            r"must broadcast.*known_mask.shape=\(4, 4\).*8 by 8 pixels",
        ),
    ],
)
def test_wrong_arguments_are_refused(model, call, message):
    with pytest.raises(ValueError, match=message):
        call(model)


@pytest.mark.parametrize("name", sorted(samplers.NAMES))
def test_a_sampler_and_its_name_mean_the_same(make_model, name):
    known = samplers.make(name).settings()
    few = {"steps_per_level": 2, "num_steps": 2}
    few = {setting: few[setting] for setting in few if setting in known}
    model = make_model()
    by_name = model.generate(2, seed=0, sampler=name, **few)
    sampler = samplers.make(name, few)
    by_object = model.generate(2, seed=0, sampler=sampler)
    np.testing.assert_array_equal(by_name, by_object)
    # As the default, it is stored as plain values.
    model = make_model(model.network, sampler=sampler)
    assert model.get_config()["sampler"] == name
    assert model.get_config()["sampler_settings"] == {name: sampler.settings()}
    np.testing.assert_array_equal(model.generate(2, seed=0), by_name)
