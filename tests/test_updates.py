import keras
import numpy as np
import pytest
from contract import assert_equal
from keras import ops

from keras_ncsn import backend


def steps(optimizer, apply):
    """Returns all that three steps change, from the same gradients."""
    rng = np.random.default_rng(0)
    shapes = [(3, 4), (5,)]
    weights = [
        keras.Variable(rng.normal(size=shape).astype("float32"))
        for shape in shapes
    ]
    optimizer.build(weights)
    for _ in range(3):
        gradients = [
            ops.convert_to_tensor(rng.normal(size=shape), "float32")
            for shape in shapes
        ]
        apply(optimizer, gradients, weights)
    return [*weights, *optimizer.variables]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"epsilon": 1e-3, "beta_1": 0.5, "beta_2": 0.9},
        {"weight_decay": 0.1, "global_clipnorm": 1.0},
        {"amsgrad": True},
        {"gradient_accumulation_steps": 2},
    ],
)
def test_a_step_of_adam_is_that_of_keras(settings):
    rate = keras.optimizers.schedules.CosineDecay(0.1, 5)
    changed, expected = (
        steps(
            keras.optimizers.Adam(rate, **settings),
            apply,
        )
        for apply in (
            backend.apply_gradients,
            lambda optimizer, *pair: optimizer.apply(*pair),
        )
    )
    # In float32, 1 - 0.999 has five digits, which the kernel computes.
    for new, old in zip(changed, expected, strict=True):
        assert_equal(new.value, old.value, rtol=2e-5)


def test_other_optimizers_are_left_alone():
    class Half(keras.optimizers.Adam):
        def update_step(self, gradient, variable, learning_rate):
            super().update_step(0.5 * gradient, variable, learning_rate)

    changed, expected = (
        steps(Half(), apply)
        for apply in (
            backend.apply_gradients,
            lambda optimizer, *pair: optimizer.apply(*pair),
        )
    )
    for new, old in zip(changed, expected, strict=True):
        assert_equal(new.value, old.value, rtol=1e-6)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_one_wrong_number_in_a_gradient_is_seen(wrong):
    rest = ops.ones((2, 3))
    one = ops.array([0.0, wrong])
    assert bool(backend.all_finite([rest, None]))
    assert not bool(backend.all_finite([rest, None, one]))
