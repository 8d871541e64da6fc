"""Operators: what they measure, their adjoints, and the bad ones."""

import numpy as np
import pytest
from contract import assert_equal, random_images
from keras import ops
from PIL import Image

from keras_ncsn import operators
from keras_ncsn.posterior.linearity import measurement_shape

RNG = np.random.default_rng(0)
KERNEL = RNG.standard_normal((3, 5))
MASK = RNG.integers(0, 2, (6, 8)).astype(bool)
CASES = {
    "mask": (operators.Mask(MASK), (6, 8, 3)),
    "mask of points": (operators.Mask([1, 0, 1]), (3,)),
    "downsample": (operators.Downsample(2), (6, 8, 3)),
    "downsample signals": (operators.Downsample(3), (6,)),
    "downsample channels": (operators.Downsample(2), (6, 2)),
    "blur": (operators.Blur(KERNEL), (6, 8, 3)),
    "blur signals": (operators.Blur(KERNEL[0]), (6,)),
    "blur channels": (operators.Blur(KERNEL[0]), (6, 2)),
    "greyscale": (operators.Grayscale(), (6, 8, 3)),
    "matrix": (
        operators.Matrix(RNG.standard_normal((5, 24))),
        (4, 3, 2),
    ),
    "fourier": (operators.Fourier(MASK), (6, 8, 3)),
    "fourier signals": (operators.Fourier([1, 0, 1, 1, 0]), (5,)),
    "fourier channels": (operators.Fourier([[1], [0], [1]]), (3, 2)),
    "function": (
        operators.LinearOperator(lambda x: x[:, 1:] - 2 * x[:, :-1]),
        (6, 2),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_adjoint_has_the_same_inner_products(name):
    operator, image_shape = CASES[name]
    shape = measurement_shape(operator, image_shape)
    x, y = random_images(2, *image_shape), random_images(2, *shape, seed=1)
    measured = ops.convert_to_numpy(operator(x))
    assert measured.shape == (2, *shape)
    back = ops.convert_to_numpy(operator.adjoint(y, image_shape))
    assert np.sum(measured * y) == pytest.approx(np.sum(x * back), rel=1e-5)
    # What was derived by hand equals automatic differentiation.
    automatic = operators.LinearOperator(operator)
    assert_equal(automatic.adjoint(y, image_shape), back, rtol=1e-5)


def test_a_factor_averages_blocks():
    images = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)
    small = operators.Downsample(2)(images)[0, :, :, 0]
    assert_equal(small, np.array([[2.5, 4.5], [10.5, 12.5]]))


def test_blur_is_a_convolution_with_zeros_around():
    images = random_images(2, 6, 8, 3)
    blurred = ops.convert_to_numpy(operators.Blur(KERNEL)(images))
    padded = np.pad(images, ((0, 0), (1, 1), (2, 2), (0, 0)))
    expected = sum(
        KERNEL[row, column]
        * padded[:, 2 - row : 8 - row, 4 - column : 12 - column]
        for row in range(3)
        for column in range(5)
    )
    np.testing.assert_allclose(blurred, expected, atol=1e-5)
    signal = random_images(1, 9)
    blurred = operators.Blur(KERNEL[0])(signal)
    expected = np.convolve(signal[0], KERNEL[0], "same")[None]
    assert_equal(blurred, expected, rtol=1e-6)


def test_grey_is_that_of_pictures():
    picture = RNG.integers(0, 256, (5, 7, 3), "uint8")
    grey = operators.Grayscale()(picture[None].astype("float32"))
    expected = np.asarray(Image.fromarray(picture).convert("L"))
    grey = ops.convert_to_numpy(grey)[0, ..., 0]
    assert np.abs(grey - expected).max() < 1


def test_fourier_is_the_unitary_transform():
    images = random_images(2, 6, 8, 3)
    measured = ops.convert_to_numpy(operators.Fourier(MASK)(images))
    expected = np.fft.fft2(images, axes=(1, 2), norm="ortho")
    expected *= MASK[..., None]
    np.testing.assert_allclose(measured[..., 0], expected.real, atol=1e-5)
    np.testing.assert_allclose(measured[..., 1], expected.imag, atol=1e-5)


def clipped(x):
    return ops.clip(x, -0.5, 0.5)


def with_mean_of_batch(x):
    return x - ops.mean(x, axis=0, keepdims=True)


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (clipped, "`operator` must be a `LinearOperator`.*LinearOperator\\(fu"),
        (operators.LinearOperator(clipped), r"must be linear: A\(x - 2 y\)"),
        (operators.LinearOperator(lambda x: x + 0.1), "must be linear"),
        (operators.LinearOperator(with_mean_of_batch), "each image alone"),
        (
            operators.LinearOperator(lambda x: x / 0.0),
            "must return finite numbers.*Received: inf or NaN",
        ),
        (operators.LinearOperator(ops.sum), r"of shape \(batch, \.\.\.\)"),
        (
            operators.LinearOperator(lambda x: x[:1]),
            r"shape \(1, 4, 4, 3\) for 3 images",
        ),
        (
            operators.LinearOperator(lambda x: ops.cast(x, "complex64")),
            "must return real floats.*complex64.*axis of two",
        ),
        (
            operators.LinearOperator(lambda x: ops.cast(x, "int32")),
            "must return real floats|must be linear",
        ),
        (
            operators.LinearOperator(lambda x: ops.matmul(x, np.ones((9, 2)))),
            r"must be a function of a batch.*\(3, 4, 4, 3\) it raised",
        ),
        (
            operators.LinearOperator(lambda x: x, lambda y: 2 * y),
            "`adjoint` must be the adjoint of `function`",
        ),
        (
            operators.LinearOperator(lambda x: x, lambda y: y[:, :2]),
            r"must return images.*\(3, 2, 4, 3\).*\(4, 4, 3\)",
        ),
        (operators.Downsample(3), "`factor` must divide.*factor=3"),
        (operators.Blur(np.ones(3)), "`kernel` must have two sides"),
        (operators.Matrix(np.ones((2, 9))), "a column for each value"),
        (operators.Mask(np.ones((3, 3))), "`known` must broadcast.*4 by 4"),
        (operators.Mask(np.full((4, 4), 2)), "`known` must hold True or 1"),
        (operators.Fourier(np.ones((3, 3))), "must broadcast"),
    ],
)
def test_bad_operators_are_refused(operator, message):
    with pytest.raises(ValueError, match=message) as caught:
        measurement_shape(operator, (4, 4, 3))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: operators.Downsample(0), "`factor` must be an integer.*=0"),
        (lambda: operators.Downsample(1.5), "factor=1.5"),
        (lambda: operators.Blur(np.ones((2, 3))), r"odd.*shape=\(2, 3\)"),
        (lambda: operators.Blur([np.nan]), "`kernel` must hold finite"),
        (lambda: operators.Matrix(np.ones(3)), r"`matrix`.*shape=\(3,\)"),
        (lambda: operators.Matrix([[np.inf]]), "`matrix` must hold finite"),
    ],
)
def test_wrong_settings_of_operators_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("kind", "array"),
    [
        (operators.Mask, np.ones(3, "bool")),
        (operators.Fourier, np.ones(3, "bool")),
        (operators.Blur, np.ones(3, "float32")),
        (operators.Matrix, np.ones((2, 3), "float32")),
    ],
)
def test_an_array_that_changes_later_changes_no_operator(kind, array):
    operator, images = kind(array), np.arange(3.0)[None]
    before = ops.convert_to_numpy(operator(images))
    array[:] = 0
    after = ops.convert_to_numpy(operator(images))
    np.testing.assert_array_equal(after, before)


def test_grey_needs_colours():
    with pytest.raises(ValueError, match=r"3 channels.*\(4, 4, 1\)"):
        measurement_shape(operators.Grayscale(), (4, 4, 1))


def test_unknown_values_are_ignored():
    values = np.full((1, 2, 2, 1), np.nan)
    values[0, 0, 0] = 3.0
    mask = operators.Mask([[True, False], [False, False]])
    assert mask.measured(values).ravel().tolist() == [3.0, 0.0, 0.0, 0.0]
    spectrum = np.stack([values, values], axis=-1)
    fourier = operators.Fourier(mask.known)
    assert fourier.measured(spectrum).sum() == 6.0
