"""Adam's step on TensorFlow, as one operation for each variable."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from keras_ncsn.backend.running import BACKEND

if BACKEND == "tensorflow":
    import tensorflow as tf


@contextlib.contextmanager
def fused(optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """A context in which TensorFlow's own kernel takes the steps of Adam.

    Keras makes some thirty small operations of the step of each variable.
    Tracing and optimizing these takes a quarter of the first step of training.
    The kernel computes the same formula. Other optimizers, and Adam on other
    backends or several devices, stay as they are.

    Args:
        optimizer: A built Keras optimizer.
    """
    step = getattr(type(optimizer), "update_step", None)
    if (
        BACKEND != "tensorflow"
        or step is not keras.optimizers.Adam.update_step
        or optimizer.amsgrad
        or tf.distribute.has_strategy()
    ):
        yield
        return
    # The instance's attribute hides the method of its class.
    object.__setattr__(optimizer, "update_step", _kernel_step(optimizer))
    try:
        yield
    finally:
        object.__delattr__(optimizer, "update_step")


def _kernel_step(optimizer: Any) -> Any:
    count = tf.cast(optimizer.iterations + 1, "float32")
    powers = [
        tf.pow(tf.constant(beta, "float32"), count)
        for beta in (optimizer.beta_1, optimizer.beta_2)
    ]

    def update_step(gradient, variable, learning_rate):
        if (
            isinstance(gradient, tf.IndexedSlices)
            or variable.dtype != "float32"
        ):
            step = type(optimizer).update_step
            step(optimizer, gradient, variable, learning_rate)
            return
        index = optimizer._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=optimizer._momentums[index].value.handle,
            v=optimizer._velocities[index].value.handle,
            beta1_power=powers[0],
            beta2_power=powers[1],
            lr=tf.cast(learning_rate, "float32"),
            beta1=optimizer.beta_1,
            beta2=optimizer.beta_2,
            epsilon=optimizer.epsilon,
            grad=tf.cast(gradient, "float32"),
        )

    return update_step
