"""What `fit` does, on every backend."""

import keras
import numpy as np
import pytest
from conftest import two_convolutions
from contract import assert_equal, randomize
from keras import ops

import keras_ncsn
from keras_ncsn.backend import BACKEND
from keras_ncsn.noise import NoiseSchedule
from keras_ncsn.training import step


def foreign_unet(image_shape=(8, 8, 1)):
    """A plain Keras U-Net that knows nothing of this package."""
    layers = keras.layers
    noisy, sigma = keras.Input(image_shape), keras.Input(())
    embedding = layers.Dense(8)(layers.Reshape((1,))(ops.log(sigma)))
    fine = layers.Conv2D(8, 3, padding="same", activation="relu")(noisy)
    coarse = layers.Conv2D(8, 3, 2, padding="same", activation="relu")(fine)
    coarse = layers.BatchNormalization()(coarse)
    coarse = layers.Add()([coarse, layers.Reshape((1, 1, 8))(embedding)])
    joined = layers.Concatenate()([layers.UpSampling2D()(coarse), fine])
    output = layers.Conv2D(image_shape[-1], 3, padding="same")(joined)
    return keras.Model([noisy, sigma], output)


def plain_config(model):
    config = model.get_config()
    return {name: config[name] for name in config if name != "network"}


def fixed_loss(model, images):
    """The loss at fixed noise and levels, by which steps compare."""
    schedule = model.schedule
    sigma = np.geomspace(schedule.sigma_max, schedule.sigma_min, len(images))
    noise = np.random.default_rng(1).standard_normal(images.shape)
    loss = step.loss_per_image(
        model,
        ops.convert_to_tensor(images),
        ops.convert_to_tensor(sigma.astype("float32")),
        ops.convert_to_tensor(noise.astype("float32")),
        training=True,
    )
    return float(ops.convert_to_numpy(loss).mean())


def steps_lower_the_loss(model, images, num_steps):
    before = fixed_loss(model, images)
    for _ in range(num_steps):
        model.train_on_batch(images)
    return fixed_loss(model, images) < 0.99 * before


def weights_of(model):
    return [np.array(weight) for weight in model.get_weights()]


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"sigma_distribution": "log_uniform"},
        {"sigma_distribution": "log_normal", "weighting": "edm"},
        {"schedule": NoiseSchedule.linear_beta(num_levels=50)},
    ],
)
def test_fit_lowers_the_loss(make_model, images, kwargs):
    model = make_model(**kwargs)
    model.compile(keras.optimizers.Adam(5e-3))
    before = fixed_loss(model, images)
    model.fit(images, batch_size=8, epochs=10, verbose=0)
    assert fixed_loss(model, images) < 0.97 * before


@pytest.mark.parametrize("prediction", ["score", "noise"])
def test_a_custom_network_trains(images, prediction):
    model = keras_ncsn.NCSNModel(
        foreign_unet(),
        NoiseSchedule.geometric(1.0, 0.1, 5),
        prediction=prediction,
        ema_momentum=0.9,
        seed=0,
    )
    model.compile(keras.optimizers.Adam(1e-2))
    assert steps_lower_the_loss(model, images, num_steps=10)
    assert model.generate(2, seed=0, steps_per_level=1).shape == (2, 8, 8, 1)


def test_unet_trains(images):
    network = keras_ncsn.networks.UNet((8, 8, 1), widths=(4,), num_blocks=1)
    model = keras_ncsn.NCSNModel(network, ema_momentum=0.9, seed=0)
    # XLA compiles it in the docstring of the model.
    model.compile(jit_compile=BACKEND == "jax")
    assert steps_lower_the_loss(model, images, num_steps=20)


def test_points_can_be_trained_on():
    rng = np.random.default_rng(0)
    points = rng.standard_normal((256, 2), "float32") * 0.5 + [4.0, -4.0]
    model = keras_ncsn.NCSNModel(
        keras_ncsn.networks.MLP(width=32, data_std=4.0),
        NoiseSchedule.geometric(40.0, 0.1, 12),
        value_range=None,
        seed=0,
    )
    model.compile(keras.optimizers.Adam(5e-3))
    model.fit(points.astype("float32"), batch_size=64, epochs=40, verbose=0)
    samples = model.generate(200, seed=0, batch_size=200, sampler="heun")
    assert samples.mean(axis=0) == pytest.approx([4.0, -4.0], abs=0.4)


def test_prediction_of_noise_is_the_score_times_minus_a_sigma(images):
    network = foreign_unet()
    schedule = NoiseSchedule.linear_beta()
    noisy, sigma = images[:2], np.array([0.5, 2.0], "float32")
    as_noise = keras_ncsn.NCSNModel(network, schedule, prediction="noise")
    output = ops.convert_to_numpy(network([noisy, sigma]))
    a_sigma = (sigma / np.sqrt(1 + sigma**2))[:, None, None, None]
    assert_equal(as_noise.score(noisy, sigma), -output / a_sigma, rtol=1e-5)


def test_consecutive_steps_draw_different_noise(make_model, images):
    model = make_model()
    data = ops.convert_to_tensor(images)
    first = [ops.convert_to_numpy(x) for x in step.draw_noise(model, data)]
    second = [ops.convert_to_numpy(x) for x in step.draw_noise(model, data)]
    assert np.all(first[1] != second[1])
    # And inside compiled steps: the seed moves on, and so do the losses of
    # a model that does not learn.
    model.compile(keras.optimizers.SGD(0.0))
    state = np.array(ops.convert_to_numpy(model.seed_generator.state.value))
    losses = [
        model.fit(images, batch_size=16, verbose=0).history["loss"][0]
        for _ in range(3)
    ]
    assert len(set(losses)) == 3
    moved = ops.convert_to_numpy(model.seed_generator.state.value)
    assert not np.array_equal(moved, state)


@pytest.mark.parametrize(
    ("distribution", "quantiles"),
    [
        # The median, and the share below 0.1, of what each promises.
        ("log_uniform", (0.1, 0.5)),
        ("log_normal", (np.exp(-1.2), 0.179)),
    ],
)
def test_noise_levels_have_their_distribution(
    make_zero, distribution, quantiles
):
    model = make_zero((2,), sigma_distribution=distribution, value_range=None)
    sigma, _ = step.draw_noise(model, ops.zeros((20_000, 2)))
    sigma = ops.convert_to_numpy(sigma)
    assert np.median(sigma) == pytest.approx(quantiles[0], rel=0.06)
    assert (sigma < 0.1).mean() == pytest.approx(quantiles[1], abs=0.02)
    assert 0.0099 < sigma.min() <= sigma.max() < 1.0001


def test_ladder_draws_levels_with_equal_probability(make_zero):
    model = make_zero((2,), value_range=None)
    sigma, _ = step.draw_noise(model, ops.zeros((20_000, 2)))
    levels, counts = np.unique(ops.convert_to_numpy(sigma), return_counts=True)
    ladder = model.schedule.sigmas.astype("float32")[::-1]
    np.testing.assert_array_equal(levels, ladder)
    assert np.abs(counts / 20_000 - 0.1).max() < 0.01


def test_uint8_is_dequantised_or_divided(make_zero):
    whole = np.full((50, 4, 4, 1), 51, "uint8")
    images = step.prepare_images(make_zero((4, 4, 1)), (whole, None))
    images = ops.convert_to_numpy(images)
    assert 51 / 256 <= images.min() < images.max() < 52 / 256
    plain = make_zero((4, 4, 1), dequantize=False)
    images = ops.convert_to_numpy(step.prepare_images(plain, [whole]))
    np.testing.assert_allclose(images, 51 / 255, rtol=1e-6)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_average_of_the_weights_is_as_documented(images, policy):
    # Of three steps, the last is past the ramp.
    model = keras_ncsn.NCSNModel(
        two_convolutions(dtype=policy), ema_momentum=0.3, seed=0
    )
    randomize(model.network)
    model.reset_ema()
    model.compile(keras.optimizers.SGD(1e-4))
    expected = weights_of(model.network)
    raw = []
    for _ in range(3):
        model.train_on_batch(images)
        raw.append(weights_of(model.network))
    for momentum, weights in zip((2 / 11, 3 / 12, 0.3), raw, strict=True):
        expected = [
            momentum * average + (1 - momentum) * weight
            for average, weight in zip(expected, weights, strict=True)
        ]
    for average, value in zip(
        weights_of(model.ema_network), expected, strict=True
    ):
        np.testing.assert_allclose(average, value, rtol=1e-5, atol=1e-6)


def test_average_follows_in_a_short_run(make_model, images):
    model = make_model(ema_momentum=0.9999)
    randomize(model.ema_network)
    # At rest, so that the average is the weights but for a known share.
    before = weights_of(model.ema_network)
    model.compile(keras.optimizers.SGD(0.0))
    model.fit(images, batch_size=2, verbose=0)
    steps = np.arange(1, 9)
    share = np.prod((1 + steps) / (10 + steps))
    for average, old, weight in zip(
        weights_of(model.ema_network),
        before,
        weights_of(model.network),
        strict=True,
    ):
        np.testing.assert_allclose(
            average, share * old + (1 - share) * weight, rtol=1e-4, atol=1e-6
        )


def test_average_is_used_by_all_but_training(make_model, images):
    model = make_model(ema_momentum=0.5)
    randomize(model.ema_network)
    noisy, sigma = images[:2], np.full(2, 0.5, "float32")
    averaged = ops.convert_to_numpy(model.ema_network([noisy, sigma]))
    assert_equal(model.score(noisy, 0.5), averaged, rtol=1e-5)
    assert_equal(model.predict([noisy, sigma], verbose=0), averaged, rtol=1e-5)
    raw = model.network([noisy, sigma])
    assert_equal(model([noisy, sigma], training=True), raw, rtol=1e-5)


def test_a_nan_loss_stops_training_and_leaves_the_weights_unchanged(
    make_model, images
):
    model = make_model(ema_momentum=0.9)
    model.compile()
    model.fit(images, batch_size=8, verbose=0)
    model.optimizer.learning_rate = 1e38
    model.fit(images, batch_size=16, verbose=0)
    before = weights_of(model)
    steps = int(model.optimizer.iterations.value)
    with pytest.raises(FloatingPointError, match="loss became nan.*smaller"):
        model.fit(images, batch_size=8, epochs=3, verbose=0)
    seed = int(np.prod(model.seed_generator.state.shape))
    same = [
        np.array_equal(old, new)
        for old, new in zip(before, weights_of(model), strict=True)
        if old.size != seed
    ]
    assert all(same)
    assert int(model.optimizer.iterations.value) == steps


def test_nan_gradients_leave_the_weights_unchanged():
    """The loss is finite, its gradient 0 / 0."""
    noisy, sigma = keras.Input((2,)), keras.Input(())
    x = ops.sqrt(ops.abs(keras.layers.Dense(2)(noisy * 0.0)))
    model = keras_ncsn.NCSNModel(
        keras.Model([noisy, sigma], x), value_range=None, seed=0
    )
    model.compile()
    before = weights_of(model.network)
    with pytest.raises(FloatingPointError, match="or its gradient"):
        model.train_on_batch(np.ones((4, 2), "float32"))
    assert all(map(np.array_equal, before, weights_of(model.network)))
    assert np.isfinite(fixed_loss(model, np.ones((4, 2), "float32")))


def test_training_continues_after_a_nan_loss(make_model, images):
    model = make_model()
    model.compile()
    weights = weights_of(model.network)
    model.network.set_weights([weight * np.nan for weight in weights])
    with pytest.raises(FloatingPointError, match="loss became nan"):
        model.train_on_batch(images)
    model.network.set_weights(weights)
    model.train_on_batch(images)
    moved = weights_of(model.network)
    assert not any(map(np.array_equal, weights, moved))


def test_loss_scaling_is_undone_in_the_loss(images):
    """The scale doubles every other step; the reported loss must not."""
    plain = keras.optimizers.SGD(0.0)
    scaling = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.0), dynamic_growth_steps=2
    )
    losses = []
    for optimizer in (plain, scaling):
        keras.utils.set_random_seed(0)
        model = keras_ncsn.NCSNModel(two_convolutions(), seed=0)
        model.compile(optimizer)
        history = model.fit(images, batch_size=4, epochs=3, verbose=0)
        losses.append(history.history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert float(scaling.dynamic_scale.value) > 2.0**15


def test_regularization_losses_of_the_network_count(images):
    def loss(penalty):
        keras.utils.set_random_seed(0)
        noisy, sigma = keras.Input((8, 8, 1)), keras.Input(())
        x = keras.layers.Conv2D(
            1, 3, padding="same", kernel_regularizer=penalty
        )(noisy)
        network = keras.Model([noisy, sigma], x)
        model = keras_ncsn.NCSNModel(network, seed=0)
        model.compile(keras.optimizers.SGD(0.0))
        value = model.fit(images, batch_size=16, verbose=0).history["loss"][0]
        return value, np.sum(np.square(network.get_weights()[0]))

    (bare, _), (with_penalty, square) = (
        loss(None),
        loss(keras.regularizers.L2(5.0)),
    )
    assert with_penalty - bare == pytest.approx(5.0 * square, rel=1e-2)


@pytest.mark.parametrize(
    "objective", ["denoising_score_matching", "sliced_score_matching"]
)
def test_activity_regularization_counts(images, objective):
    def loss(penalty):
        noisy, sigma = keras.Input((8, 8, 1)), keras.Input(())
        x = keras.layers.Dense(
            1, None, True, "zeros", "ones", activity_regularizer=penalty
        )(noisy)
        model = keras_ncsn.NCSNModel(
            keras.Model([noisy, sigma], x), objective=objective, seed=0
        )
        model.compile(keras.optimizers.SGD(0.0))
        history = model.fit(images, batch_size=16, verbose=0)
        return history.history["loss"][0]

    if BACKEND == "jax" and objective == "sliced_score_matching":
        with pytest.raises(ValueError, match="must not add losses in a call"):
            loss(keras.regularizers.L2(0.5))
        return
    # Keras divides by the number of images.
    difference = loss(keras.regularizers.L2(0.5)) - loss(None)
    assert difference == pytest.approx(0.5 * images[0].size, rel=1e-3)


@pytest.mark.parametrize(
    "compile_arguments",
    [
        {"run_eagerly": True},
        {"jit_compile": False},
        {"jit_compile": BACKEND != "torch"},
        {"steps_per_execution": 1 if BACKEND == "torch" else 2},
    ],
)
def test_ways_to_compile(make_model, images, compile_arguments):
    model = make_model(ema_momentum=0.9)
    model.compile(**compile_arguments)
    history = model.fit(images, batch_size=4, verbose=0, validation_data=images)
    assert np.isfinite(history.history["val_loss"][0])
    assert int(model.optimizer.iterations.value) == 4


def test_default_optimizer_equals_the_authors(make_model):
    model = make_model()
    model.compile()
    config = model.optimizer.get_config()
    assert isinstance(model.optimizer, keras.optimizers.Adam)
    assert config["learning_rate"] == pytest.approx(1e-3)
    assert config["epsilon"] == 1e-8


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains(images, policy):
    network = two_convolutions(dtype=policy)
    model = keras_ncsn.NCSNModel(network, ema_momentum=0.9, seed=0)
    model.compile(keras.optimizers.Adam(5e-3))
    scales = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scales == (policy == "mixed_float16")
    assert steps_lower_the_loss(model, images, num_steps=10)
    assert model.generate(1, steps_per_level=1).dtype == np.float32


def test_keras_files_hold_weights_average_and_optimizer(
    make_model, images, tmp_path
):
    model = make_model(
        ema_momentum=0.9,
        sampler="heun",
        sampler_settings={"heun": {"num_steps": 4}},
    )
    model.compile(keras.optimizers.Adam(2e-3))
    model.fit(images, batch_size=8, verbose=0)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert plain_config(copy) == plain_config(model)
    assert all(map(np.array_equal, weights_of(model), weights_of(copy)))
    np.testing.assert_array_equal(
        model.generate(2, seed=1), copy.generate(2, seed=1)
    )
    copy.fit(images, batch_size=8, verbose=0)
    assert int(copy.optimizer.iterations.value) == 4


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"prediction": "x0"}, "one of score, noise.*prediction='x0'"),
        ({"sigma_distribution": "normal"}, "one of ladder, log_uniform"),
        ({"weighting": "none"}, "one of ncsn, edm.*weighting='none'"),
        ({"ema_momentum": 1.0}, r"below 1.*ema_momentum=1\.0"),
        ({"data_std": 0}, "above 0.*data_std=0"),
        ({"seed": -1}, "at least 0.*seed=-1"),
        ({"seed": 0.5}, r"an integer.*seed=0\.5"),
        ({"value_range": (1, 0)}, r"pair of numbers.*\(1, 0\)"),
        ({"value_range": 3}, "pair of numbers.*value_range=3"),
        ({"value_range": ("a", "b")}, "pair of numbers.*'a'"),
        ({"schedule": "geometric"}, "be a `NoiseSchedule`.*'geometric'"),
        ({"sampler": "ddim"}, "one of annealed_langevin.*sampler='ddim'"),
        (
            {"sampler_settings": {"heun": {"steps": 3}}},
            "heun has the settings num_steps.*steps=3",
        ),
        (
            {"sampler_settings": {"heun": {"num_steps": 1}}},
            "at least 2.*num_steps=1",
        ),
        (
            {"sampler_settings": {"langevin": {"sigma": "small"}}},
            "above 0.*sigma=small",
        ),
        (
            {
                "sampler": "langevin",
                "sampler_settings": {"langevin": {"sigma": 7.0}},
            },
            r"lie within the schedule.*sigma=7\.0",
        ),
        (
            {"sampler_settings": {"annealed_langevin": {"denoise": "no"}}},
            "one of False, True.*denoise='no'",
        ),
    ],
)
def test_model_rejects(make_model, kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_model(**kwargs)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"prediction": "noise"},
            "which all return the score.*prediction='noise' for a RefineNet",
        ),
        (
            {"schedule": NoiseSchedule.linear_beta()},
            "must agree on whether.*network.variance_preserving=False",
        ),
    ],
)
def test_model_rejects_arguments_that_do_not_fit_its_network(kwargs, message):
    network = keras_ncsn.networks.RefineNet((8, 8, 1), 4)
    with pytest.raises(ValueError, match=message):
        keras_ncsn.NCSNModel(network, **kwargs)


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("fit", "sample_weight"),
        ("fit", "class_weight"),
        ("evaluate", "sample_weight"),
        ("train_on_batch", "sample_weight"),
        ("train_on_batch", "class_weight"),
        ("test_on_batch", "sample_weight"),
    ],
)
def test_images_have_no_weights(make_model, images, method, name):
    model = make_model()
    model.compile()
    with pytest.raises(ValueError, match=f"no weights. Received: {name}"):
        getattr(model, method)(images, **{name: np.zeros(len(images))})


def test_model_rejects_networks_of_unknown_or_changed_shape():
    def network(shape, filters):
        noisy, sigma = keras.Input(shape), keras.Input(())
        x = keras.layers.Conv2D(filters, 3, padding="same")(noisy)
        return keras.Model([noisy, sigma], x)

    with pytest.raises(ValueError, match=r"known shape.*\(None, None, 1\)"):
        keras_ncsn.NCSNModel(network((None, None, 1), 1))
    with pytest.raises(ValueError, match=r"output_shape=\(8, 8, 3\)"):
        keras_ncsn.NCSNModel(network((8, 8, 1), 3))


def test_model_rejects_a_network_of_the_other_scaling():
    network = keras_ncsn.networks.MLP(width=4)
    with pytest.raises(ValueError, match="agree.*network.variance_preserving"):
        keras_ncsn.NCSNModel(network, NoiseSchedule.linear_beta())


def test_fit_rejects_no_steps(make_model, images):
    model = make_model()
    model.compile()
    with pytest.raises(ValueError, match="steps_per_epoch=0"):
        model.fit(images, steps_per_epoch=0)


def test_compile_rejects_losses(make_model):
    with pytest.raises(ValueError, match="its `objective`.*loss='mse'"):
        make_model().compile(loss="mse")


def test_model_rejects_a_network_with_one_input():
    x = keras.Input((8, 8, 1))
    network = keras.Model(x, keras.layers.Conv2D(1, 3, padding="same")(x))
    with pytest.raises(ValueError, match="two inputs.*with 1 inputs"):
        keras_ncsn.NCSNModel(network)


def test_model_rejects_noise_levels_that_are_not_numbers():
    x, sigma = keras.Input((8, 8, 1)), keras.Input((1, 1, 1))
    network = keras.Model([x, sigma], keras.layers.Multiply()([x, sigma]))
    with pytest.raises(ValueError, match=r"one noise level.*1, 1, 1\)"):
        keras_ncsn.NCSNModel(network)


def test_model_rejects_noise_levels_outside_those_of_its_network():
    ladder = NoiseSchedule.geometric()
    network = keras_ncsn.networks.RefineNet((8, 8, 1), 2, sigmas=ladder.sigmas)
    keras_ncsn.NCSNModel(network, NoiseSchedule.geometric(0.5, 0.01, 5))
    with pytest.raises(ValueError, match="lie within.*knows 1 to 0.01"):
        keras_ncsn.NCSNModel(network, NoiseSchedule.geometric(50.0))
