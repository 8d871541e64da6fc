"""Vector-Jacobian products, eagerly, and in compiled functions and loops."""

import keras
import numpy as np
import pytest
from contract import assert_equal, randomize
from keras import ops

from keras_ncsn import backend
from keras_ncsn.networks import MLP

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((2, 3, 4), "float32")
MATRIX = RNG.standard_normal((4, 4), "float32")


def cube(x, matrix):
    """Returns a function whose Jacobian is 3 diag(x**2) matrix."""
    return ops.matmul(x**3, matrix)


def pulled(direction):
    return 3 * X**2 * (direction @ MATRIX.T)


def test_directions_are_multiplied_by_the_jacobian():
    x, matrix = map(ops.convert_to_tensor, (X, MATRIX))
    output, pull_back = backend.output_and_pull_back(cube, x, matrix)
    assert_equal(output, X**3 @ MATRIX, rtol=1e-6)
    for direction in (Y, 2 * Y, X):
        gradient = pull_back(ops.convert_to_tensor(direction))
        assert_equal(gradient, pulled(direction), rtol=1e-6)


def test_compiled_loops_pull_back():
    """Three times, with one evaluation of the function."""
    calls = []

    def function(x, matrix):
        calls.append(x)
        return cube(x, matrix)

    @backend.compile_inference
    def loop(x, y, matrix):
        output, pull_back = backend.output_and_pull_back(function, x, matrix)
        step = lambda index, y: pull_back(y)  # noqa: E731
        return ops.fori_loop(0, 3, step, y) + output

    expected = pulled(pulled(pulled(Y))) + X**3 @ MATRIX
    assert_equal(loop(X, Y, MATRIX), expected, rtol=1e-5)
    assert len(calls) == 1


@pytest.mark.parametrize("compiled", [True, False])
def test_networks_pull_back(compiled):
    """With the weights that they have when they are called."""
    network = MLP(4, width=8, num_layers=1)

    def function(x, y, sigma):
        _, pull_back = backend.output_and_pull_back(
            lambda x, sigma: network([x, sigma]), x, sigma
        )
        return pull_back(y)

    call = function
    if compiled:
        call = backend.compile_inference(function, network.variables)
    sigma = np.full(3, 0.5, "float32")
    for seed in (1, 2):
        randomize(network, seed)
        arguments = map(ops.convert_to_tensor, (X, Y, sigma))
        step = 1e-2 * Y
        ends = [network([X + sign * step, sigma]) for sign in (1, -1)]
        slope = ops.convert_to_numpy(ends[0] - ends[1]) / 2e-2
        product = ops.convert_to_numpy(call(*arguments))
        # <J y, y> = <y, J^T y>.
        assert np.sum(product * Y) == pytest.approx(np.sum(slope * Y), rel=1e-3)


def test_a_function_that_ignores_its_input_pulls_back_zeros():
    constant = keras.Variable(np.ones((3, 4), "float32"), trainable=False)
    for function in (lambda x: constant + 0.0, lambda x: ops.ones((3, 4))):
        _, pull_back = backend.output_and_pull_back(
            function, ops.convert_to_tensor(X)
        )
        assert_equal(pull_back(ops.convert_to_tensor(Y)), np.zeros((3, 4)))
