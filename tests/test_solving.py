"""`NCSNModel.solve`, on every backend."""

import numpy as np
import pytest
from contract import random_images, randomize
from keras import ops
from small_networks import two_convolutions

from keras_ncsn import (
    NCSNModel,
    NoiseSchedule,
    operators,
    posterior,
    samplers,
    solving,
)
from keras_ncsn.networks import MLP

HALF = operators.Downsample(2)
FEW = {"sampler": "heun", "num_steps": 3, "verbose": 0}


@pytest.fixture
def model(make_model):
    model = make_model()
    # With larger weights, sampling would diverge.
    randomize(model.network, scale=0.1)
    return model


def small_images(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((count, 4, 4, 1), "float32")


@pytest.mark.parametrize(
    ("shape", "num_samples", "expected"),
    [
        ((4, 4, 1), 1, (8, 8, 1)),
        ((4, 4, 1), 3, (3, 8, 8, 1)),
        ((2, 4, 4, 1), 1, (2, 8, 8, 1)),
        ((2, 4, 4, 1), 3, (2, 3, 8, 8, 1)),
    ],
)
def test_shapes_of_solve(model, shape, num_samples, expected):
    measurements = np.full(shape, 0.5, "float32")
    images = model.solve(measurements, HALF, 0.1, num_samples, seed=0, **FEW)
    assert images.shape == expected
    assert images.dtype == np.float32
    assert 0 <= images.min() < images.max() <= 1


@pytest.mark.parametrize(
    ("name", "sampler"),
    [(name, "heun") for name in sorted(posterior.NAMES)]
    + [("mmps", "annealed_langevin"), ("score_ald", "annealed_langevin")],
)
def test_samples_depend_on_seed_and_measurements_and_not_on_the_batch(
    model, name, sampler
):
    steps = "num_steps" if sampler == "heun" else "steps_per_level"
    settings = {steps: 2}
    operator = operators.Mask(np.arange(64).reshape(8, 8) % 3 > 0)
    images = np.random.default_rng(0).random((3, 8, 8, 1), "float32")
    run = {"num_samples": 2, "method": name, "sampler": sampler, **settings}
    solved = model.solve(images, operator, 0.1, seed=1, **run)
    again = model.solve(images, operator, 0.1, seed=1, **run)
    np.testing.assert_array_equal(solved, again)
    pieces = model.solve(images, operator, 0.1, seed=1, batch_size=2, **run)
    np.testing.assert_allclose(solved, pieces, atol=2e-4)
    # Sample i of seed s depends on its own measurements alone.
    changed = images.copy()
    changed[2] = 1 - changed[2]
    other = model.solve(changed, operator, 0.1, seed=1, **run)
    np.testing.assert_allclose(other[:2], solved[:2], atol=2e-4)
    assert np.abs(other[2] - solved[2]).max() > 0.01
    seeds = model.solve(images, operator, 0.1, seed=2, **run)
    assert np.abs(seeds - solved).max() > 0.01
    assert np.abs(solved[:, 0] - solved[:, 1]).max() > 0.01


SUMS = operators.Matrix([[1, 2, 0, 0], [0.5, 0.5, 0.5, 0]])


@pytest.mark.parametrize(
    ("value_range", "variance_preserving", "operator"),
    [
        (None, False, SUMS),
        ((0, 255), False, SUMS),
        ((-1, 1), True, SUMS),
        ((0, 255), True, SUMS),
        ((0, 255), True, operators.Mask([True, False, True, False])),
    ],
)
def test_samples_have_the_moments_of_the_posterior_in_each_range(
    value_range, variance_preserving, operator
):
    """Of a network that is the exact score of independent normal values."""
    low, high = value_range or (0.0, 1.0)
    mean, spread = low + 0.6 * (high - low), 0.1 * (high - low)
    schedule = NoiseSchedule.geometric(40 * spread, 0.02 * spread, 40)
    network = {"data_mean": mean, "data_std": spread}
    if variance_preserving:
        # The network sees values in [-1, 1].
        schedule = NoiseSchedule.linear_beta()
        network = {"data_mean": 0.2, "data_std": 0.2}
    network = MLP(
        4,
        width=4,
        num_layers=1,
        variance_preserving=variance_preserving,
        **network,
    )
    # Its raw output is 0 then: the score of a normal distribution.
    network.set_weights([np.zeros_like(x) for x in network.get_weights()])
    model = NCSNModel(network, schedule, value_range=value_range)
    rng = np.random.default_rng(0)
    points = mean + spread * rng.standard_normal((1, 4), "float32")
    measured = ops.convert_to_numpy(operator(points))
    measured += 0.5 * spread * rng.standard_normal(measured.shape, "float32")
    samples = model.solve(
        measured[0],
        operator,
        0.5 * spread,
        num_samples=400,
        seed=0,
        batch_size=400,
        sampler=samplers.Heun(num_steps=30),
        verbose=0,
    )
    matrix = ops.convert_to_numpy(operator(np.eye(4, dtype="float32"))).T
    # In units of the spread around the mean.
    covariance = matrix @ matrix.T + 0.25 * np.eye(len(matrix))
    gain = np.linalg.solve(covariance, matrix).T
    residual = operator.measured(measured)[0] - matrix @ np.full(4, mean)
    exact_mean = gain @ (residual / spread)
    exact_std = np.sqrt(np.diag(np.eye(4) - gain @ matrix))
    samples = (samples - mean) / spread
    assert np.abs(samples.mean(axis=0) - exact_mean).max() < 0.2
    ratio = samples.std(axis=0) / exact_std
    # 400 samples: the spread is known to 3.5 %.
    assert np.abs(ratio - 1).max() < 0.12


def test_uint8_and_tensors_are_measurements_too(model):
    numbers = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 1), "uint8")
    floats = (numbers / 255).astype("float32")
    solved = model.solve(floats, HALF, 0.1, seed=0, **FEW)
    for same in (numbers, ops.convert_to_tensor(floats), floats.tolist()):
        again = model.solve(same, HALF, 0.1, seed=0, **FEW)
        np.testing.assert_allclose(again, solved, atol=1e-5)


@pytest.mark.parametrize("operator", [operators.Mask, operators.Fourier])
def test_uint8_of_which_some_are_unknown_equal_floats(make_model, operator):
    """Where the range does not start at 0."""
    model = make_model(value_range=(-1.0, 1.0))
    randomize(model.network, scale=0.1)
    operator = operator(np.arange(64).reshape(8, 8) % 3 > 0)
    shape = operator(np.zeros((2, 8, 8, 1), "float32")).shape
    numbers = np.random.default_rng(0).integers(0, 256, shape, "uint8")
    floats = (2 * (numbers / 255) - 1).astype("float32")
    run = {"seed": 0, "method": "dps", **FEW}
    solved = model.solve(floats, operator, 0.1, **run)
    again = model.solve(numbers, operator, 0.1, **run)
    np.testing.assert_allclose(again, solved, atol=1e-5)


def test_complex_arrays_are_measurements_of_fourier(model):
    images = np.random.default_rng(0).random((2, 8, 8, 1), "float32")
    fourier = operators.Fourier(np.arange(64).reshape(8, 8) % 2 == 0)
    spectrum = np.fft.fft2(images, axes=(1, 2), norm="ortho")
    parts = ops.convert_to_numpy(fourier(images))
    by_parts = model.solve(parts, fourier, 0.1, seed=0, **FEW)
    solved = model.solve(spectrum, fourier, 0.1, seed=0, **FEW)
    np.testing.assert_allclose(solved, by_parts, atol=1e-4)


def test_unknown_pixels_may_be_nan(model):
    known = np.arange(64).reshape(8, 8) % 3 > 0
    images = np.random.default_rng(0).random((2, 8, 8, 1), "float32")
    missing = np.where(known[..., None], images, np.nan)
    run = {"seed": 0, **FEW}
    mask = operators.Mask(known)
    solved = model.solve(images, mask, 0.1, **run)
    again = model.solve(missing, mask, 0.1, **run)
    np.testing.assert_array_equal(again, solved)


def test_labels_choose_the_prior():
    network = MLP(2, width=8, num_layers=1, num_classes=3)
    randomize(network)
    model = NCSNModel(network, value_range=None)
    operator = operators.Mask([True, False])
    measured = random_images(3, 2)
    run = {"seed": 0, **FEW}
    each = model.solve(measured, operator, 0.1, labels=[0, 1, 2], **run)
    for label in range(3):
        same = model.solve(measured, operator, 0.1, labels=label, **run)
        np.testing.assert_allclose(same[label], each[label], atol=1e-5)
    several = model.solve(
        measured, operator, 0.1, num_samples=2, labels=[0, 1, 2], **run
    )
    np.testing.assert_allclose(several[0, 0], each[0], atol=1e-5)
    assert np.abs(each - same).max() > 1e-3


def test_other_measurements_compile_nothing_anew(model):
    from keras_ncsn.backend import BACKEND

    if BACKEND == "torch":
        pytest.skip("PyTorch compiles nothing")
    calls = []

    def function(images):
        calls.append(images)
        return images[:, ::2]

    operator = operators.LinearOperator(function)
    measured = np.random.default_rng(0).random((2, 4, 8, 1), "float32")
    first = model.solve(measured, operator, 0.1, seed=0, **FEW)
    before = len(calls)
    second = model.solve(1 - measured, operator, 0.2, seed=1, **FEW)
    # Only the offset of the value range is measured, eagerly.
    assert len(calls) == before + 1
    assert np.abs(first - second).max() > 0.01


def test_only_the_latest_compiled_functions_are_kept(model, monkeypatch):
    monkeypatch.setattr(solving, "MOST_KEPT", 2)
    factors = [operators.Downsample(2) for _ in range(3)]
    for operator in factors:
        model.solve(small_images(1), operator, 0.1, **FEW)
    kept = [operator for _, operator in model.posterior_score_functions]
    assert kept == factors[1:]
    # One that is used again is the latest.
    for operator in (factors[1], factors[0]):
        model.solve(small_images(1), operator, 0.1, **FEW)
    kept = [operator for _, operator in model.posterior_score_functions]
    assert kept == [factors[1], factors[0]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise_std": -0.1}, r"`noise_std` must be at least 0.*std=-0\.1"),
        ({"noise_std": float("nan")}, "`noise_std` must be .*noise_std=nan"),
        ({"num_samples": 0}, "num_samples=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"seed": -1}, "seed=-1"),
        ({"method": "ddrm"}, "`method` must be one of.*method='ddrm'"),
        ({"method": "replacement"}, "must get the operator `Mask`"),
        ({"sampler": "ddim"}, "sampler='ddim'"),
        ({"operator": lambda x: x}, "must be a `LinearOperator`"),
        ({"operator": None}, "operator=None"),
        ({"operator": operators.Downsample(3)}, "`factor` must divide"),
        (
            {"measurements": np.zeros((8, 8, 1))},
            r"shape \(4, 4, 1\) of what `operator` .*shape=\(8, 8, 1\)",
        ),
        ({"measurements": np.zeros((0, 4, 4, 1))}, "measurements.shape"),
        (
            {"measurements": np.full((4, 4, 1), np.nan)},
            "`measurements` must be finite.*Received: 16 others",
        ),
        ({"measurements": np.full((4, 4, 1), "a")}, "must be numbers"),
        ({"measurements": np.zeros((4, 4, 1), complex)}, r"\(4, 4, 1\)"),
        ({"labels": 1}, "`labels` needs a network that takes them"),
    ],
)
def test_wrong_arguments_are_refused(make_model, changes, message):
    model = make_model(two_convolutions())
    arguments = {
        "measurements": np.zeros((4, 4, 1), "float32"),
        "operator": HALF,
        "noise_std": 0.1,
    }
    with pytest.raises(ValueError, match=message) as caught:
        model.solve(**(arguments | changes))
    assert "\n" not in str(caught.value)
