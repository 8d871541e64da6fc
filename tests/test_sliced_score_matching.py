"""The other objective: sliced score matching."""

import keras
import numpy as np
import pytest
from conftest import two_convolutions
from contract import random_images, randomize
from keras import ops

import keras_ncsn
from keras_ncsn.backend import BACKEND, value_and_gradients
from keras_ncsn.noise import NoiseSchedule
from keras_ncsn.training import losses, step

SCHEDULES = {
    "exploding": NoiseSchedule([0.9, 0.3]),
    "preserving": NoiseSchedule([0.9, 0.3], variance_preserving=True),
}
per_schedule = pytest.mark.parametrize(
    "schedule", SCHEDULES.values(), ids=[*SCHEDULES]
)


def sliced(network, schedule=None, **kwargs):
    arguments = {"objective": "sliced_score_matching", "seed": 0} | kwargs
    return keras_ncsn.NCSNModel(network, schedule, **arguments)


def linear_network(matrix, offset):
    """The score x @ matrix + offset, at every noise level."""
    noisy, sigma = keras.Input((len(matrix),)), keras.Input(())
    dense = keras.layers.Dense(len(matrix))
    network = keras.Model([noisy, sigma], dense(noisy))
    network.set_weights([np.asarray(matrix), np.asarray(offset)])
    return network


def perceptron(schedule, num_dimensions=2, seed=0):
    network = keras_ncsn.networks.MLP(
        num_dimensions,
        width=8,
        num_layers=2,
        variance_preserving=schedule.variance_preserving,
    )
    randomize(network, seed)
    return network


def draws(schedule, points, seed=1):
    """Noise levels, noise and projections for some points."""
    rng = np.random.default_rng(seed)
    sigma = rng.choice(schedule.sigmas, len(points)).astype("float32")
    noise = rng.standard_normal(points.shape, "float32")
    projection = rng.standard_normal(points.shape, "float32")
    return [ops.convert_to_tensor(x) for x in (sigma, noise, projection)]


def loss_of(model, points, sigma, noise, projection=None):
    points = ops.convert_to_tensor(points)
    loss = step.loss_per_image(
        model, points, sigma, noise, projection=projection
    )
    return ops.convert_to_numpy(loss)


def scaled_score_of(model, noisy, sigma):
    """a * sigma * score, by which the loss sees the network."""
    a_sigma = sigma * (model.schedule.scale(sigma))
    score = model([ops.convert_to_tensor(noisy), sigma])
    return ops.convert_to_numpy(a_sigma[:, None] * score)


def assert_mean(values, expected):
    """Checks a mean to four standard errors."""
    error = values.std() / np.sqrt(len(values))
    assert abs(values.mean() - expected) < 4 * error
    # And that this says something.
    assert error < 0.03 * max(1.0, abs(expected))


@per_schedule
def test_loss_of_a_linear_score_is_the_closed_form(schedule):
    """E loss = (a sigma)^2 (trace + E|score|^2 / 2), for a Gaussian."""
    spread, center = 0.5, np.array([1.0, -2.0])
    matrix, offset = np.array([[-1.0, 0.7], [0.2, -2.0]]), np.array([0.3, 1.0])
    model = sliced(linear_network(matrix, offset), schedule, value_range=None)
    rng = np.random.default_rng(0)
    points = center + spread * rng.standard_normal((40_000, 2))
    points = points.astype("float32")
    sigma, noise, projection = draws(schedule, points)
    sigma = ops.full((40_000,), 0.9)
    loss = loss_of(model, points, sigma, noise, projection)

    scale = 1 / np.sqrt(1 + 0.9**2) if schedule.variance_preserving else 1.0
    mean = scale * center @ matrix + offset
    variance = scale**2 * (spread**2 + 0.9**2)
    square = np.sum(mean**2) + variance * np.sum(matrix**2)
    expected = (scale * 0.9) ** 2 * (np.trace(matrix) + 0.5 * square)
    assert_mean(loss, expected)


@per_schedule
@pytest.mark.parametrize("seed", [0, 1])
def test_sliced_loss_is_the_denoising_loss_less_half_the_dimensions(
    schedule, seed
):
    """On average and whatever the network: both have the same minimum."""
    model = sliced(perceptron(schedule, 3, seed), schedule, value_range=None)
    rng = np.random.default_rng(0)
    points = rng.choice([-1.0, 0.5], (40_000, 3)).astype("float32")
    sigma, noise, projection = draws(schedule, points)
    denoising = loss_of(model, points, sigma, noise)
    difference = loss_of(model, points, sigma, noise, projection) - denoising
    assert_mean(difference, -1.5)


@per_schedule
def test_slope_along_a_projection_is_the_finite_difference(schedule):
    model = sliced(perceptron(schedule, 3), schedule, value_range=None)
    points = np.random.default_rng(0).standard_normal((6, 3), "float32")
    sigma, noise, projection = draws(schedule, points)
    loss = loss_of(model, points, sigma, noise, projection)

    noisy = ops.convert_to_numpy(schedule.perturb(points, sigma, noise))
    direction = ops.convert_to_numpy(projection)
    after = scaled_score_of(model, noisy + 0.01 * direction, sigma)
    before = scaled_score_of(model, noisy - 0.01 * direction, sigma)
    slope = np.sum(direction * (after - before), axis=-1) / 0.02
    a_sigma = ops.convert_to_numpy(sigma * schedule.scale(sigma))
    square = np.sum(scaled_score_of(model, noisy, sigma) ** 2, axis=-1)
    expected = a_sigma * slope + 0.5 * square
    np.testing.assert_allclose(loss, expected, rtol=2e-3, atol=2e-3)


def test_projections_average_to_the_trace():
    schedule = SCHEDULES["exploding"]
    model = sliced(perceptron(schedule, 4), schedule, value_range=None)
    point = np.array([[0.3, -1.0, 0.5, 2.0]], "float32")
    sigma, noise, _ = draws(schedule, point)
    noisy = ops.convert_to_numpy(schedule.perturb(point, sigma, noise))
    level, shifts = ops.repeat(sigma, 4), 0.01 * np.eye(4, dtype="float32")
    jacobian = scaled_score_of(model, noisy + shifts, level)
    jacobian = (jacobian - scaled_score_of(model, noisy - shifts, level)) / 0.02
    square = np.sum(scaled_score_of(model, noisy, sigma) ** 2)
    expected = float(sigma[0]) * np.trace(jacobian) + 0.5 * square

    many = np.repeat(point, 40_000, axis=0)
    _, _, projection = draws(schedule, many)
    sigma, noise = (ops.repeat(x, 40_000, axis=0) for x in (sigma, noise))
    assert_mean(loss_of(model, many, sigma, noise, projection), expected)


def exploding_perceptron():
    return perceptron(SCHEDULES["exploding"]), SCHEDULES["exploding"]


def preserving_perceptron():
    return perceptron(SCHEDULES["preserving"]), SCHEDULES["preserving"]


def unet():
    network = keras_ncsn.networks.UNet((8, 8, 1), widths=(8,), num_blocks=1)
    randomize(network)
    return network, SCHEDULES["exploding"]


def refinenet():
    sigmas = NoiseSchedule.geometric().sigmas
    network = keras_ncsn.networks.RefineNet((8, 8, 1), width=4, sigmas=sigmas)
    # As it is born, at this size, its normalization divides by next to 0.
    randomize(network)
    return network, SCHEDULES["exploding"]


slow_on_jax = pytest.mark.skipif(
    BACKEND == "jax", reason="each operation compiles: a minute in all"
)


@pytest.mark.parametrize(
    "make",
    [
        exploding_perceptron,
        preserving_perceptron,
        pytest.param(unet, marks=slow_on_jax),
        pytest.param(refinenet, marks=slow_on_jax),
    ],
)
def test_gradients_of_the_weights_are_finite_differences(make):
    network, schedule = make()
    model = sliced(network, schedule, value_range=None)
    points = random_images(4, *model.image_shape)
    sigma, noise, projection = draws(schedule, points)

    def loss():
        return step.mean_loss(
            model, ops.convert_to_tensor(points), sigma, noise, True, projection
        )

    _, gradients = value_and_gradients(loss, network.trainable_variables)
    gradients = [ops.convert_to_numpy(gradient) for gradient in gradients]
    # A step along the gradient itself, which no part of it can hide from.
    length = np.sqrt(sum(np.sum(gradient**2) for gradient in gradients))
    weights = network.get_weights()

    def loss_after(step):
        network.set_weights(
            [
                weight + step * gradient / length
                for weight, gradient in zip(weights, gradients, strict=True)
            ]
        )
        return float(ops.convert_to_numpy(loss()))

    slope = (loss_after(1e-3) - loss_after(-1e-3)) / 2e-3
    assert slope == pytest.approx(length, rel=1e-2)


def test_fit_recovers_the_score_of_a_gaussian():
    """Of N(m, s^2) at noise sigma: (m - x) / (s^2 + sigma^2)."""
    rng = np.random.default_rng(0)
    center, spread, sigma = np.array([0.5, -0.5]), 0.4, 0.3
    points = center + spread * rng.standard_normal((2048, 2))
    model = sliced(
        linear_network(np.zeros((2, 2)), np.zeros(2)),
        NoiseSchedule([1.001 * sigma, sigma]),
        value_range=None,
    )
    rate = keras.optimizers.schedules.CosineDecay(0.3, 160)
    model.compile(keras.optimizers.Adam(rate))
    model.fit(points.astype("float32"), batch_size=256, epochs=20, verbose=0)
    matrix, offset = model.network.get_weights()
    np.testing.assert_allclose(matrix, -4.0 * np.eye(2), atol=0.3)
    np.testing.assert_allclose(offset, 4.0 * center, atol=0.3)
    # What the exact score leaves: -D / 2 * sigma^2 / (s^2 + sigma^2).
    value = model.evaluate(points.astype("float32"), batch_size=256, verbose=0)
    assert value == pytest.approx(-0.36, abs=0.03)


def convolutions_with_state():
    """Batch normalization and dropout: averages and seeds that must move."""
    layers = keras.layers
    noisy, sigma = keras.Input((8, 8, 1)), keras.Input(())
    x = layers.Conv2D(8, 3, padding="same", activation="silu")(noisy)
    x = layers.Dropout(0.2)(layers.BatchNormalization()(x))
    return keras.Model([noisy, sigma], layers.Conv2D(1, 3, padding="same")(x))


def values_of(variables):
    # Copies: on PyTorch, arrays share memory with the variables.
    return [np.array(ops.convert_to_numpy(x.value)) for x in variables]


def fixed_loss(model, images):
    sigma, noise, projection = draws(model.schedule, images)
    return loss_of(model, images, sigma, noise, projection).mean()


@pytest.mark.parametrize(
    ("policy", "kwargs"),
    [
        (
            "float32",
            {
                "schedule": NoiseSchedule.linear_beta(num_levels=50),
                "prediction": "noise",
                "ema_momentum": 0.5,
            },
        ),
        (
            "mixed_bfloat16",
            {"sigma_distribution": "log_normal", "weighting": "edm"},
        ),
        ("mixed_float16", {}),
    ],
)
def test_fit_lowers_the_loss(images, policy, kwargs):
    model = sliced(two_convolutions(dtype=policy), **kwargs)
    model.compile(keras.optimizers.Adam(5e-3))
    before = fixed_loss(model, images)
    history = model.fit(
        images, batch_size=8, epochs=10, verbose=0, validation_data=images
    )
    assert np.isfinite(history.history["val_loss"]).all()
    assert fixed_loss(model, images) < before - 0.03 * abs(before)


def test_batch_statistics_and_seeds_of_the_network_are_updated(images):
    model = sliced(convolutions_with_state())
    model.compile(keras.optimizers.SGD(0.0), jit_compile=BACKEND != "torch")
    state = model.network.non_trainable_variables
    before = values_of(state)
    model.fit(images, batch_size=8, verbose=0)
    after = values_of(state)
    same = [*map(np.array_equal, before, after)]
    # Mean, variance and seed. On PyTorch, Keras draws dropout without one.
    assert same == [False, False, BACKEND == "torch"]
    # And evaluating leaves all as it is.
    model.test_on_batch(images)
    assert all(map(np.array_equal, after, values_of(state)))


def test_each_step_draws_a_new_projection(images):
    model = sliced(two_convolutions())
    first = ops.convert_to_numpy(step.draw_projection(model, images))
    second = ops.convert_to_numpy(step.draw_projection(model, images))
    assert np.all(first != second)
    assert first.shape == images.shape
    assert np.mean(first**2) == pytest.approx(1.0, abs=0.15)


def test_denoising_draws_no_projection(make_model, images):
    model = make_model()
    (before,) = values_of([model.seed_generator.state])
    assert step.draw_projection(model, images) is None
    (after,) = values_of([model.seed_generator.state])
    np.testing.assert_array_equal(after, before)


def test_loss_is_float32_where_float16_overflows():
    large = np.full((1, 2), 400.0, "float16")
    loss = losses.sliced_score_matching(large, large, large)
    assert float(loss[0]) == 480_000.0


def test_objective_is_kept_and_optional(images):
    model = sliced(two_convolutions())
    copy = keras_ncsn.NCSNModel.from_config(model.get_config())
    assert copy.objective == "sliced_score_matching"
    # Presets from before it existed do not name it.
    config = model.get_config()
    del config["objective"]
    plain = keras_ncsn.NCSNModel.from_config(config)
    assert plain.objective == "denoising_score_matching"


def test_model_rejects_other_objectives(make_model):
    message = "one of denoising_score_matching, sliced.*objective='ssm'"
    with pytest.raises(ValueError, match=message):
        make_model(objective="ssm")
