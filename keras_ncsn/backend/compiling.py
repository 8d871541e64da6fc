"""Compiled functions."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_ncsn.annotations import Tensor
from keras_ncsn.backend.devices import divides_samples
from keras_ncsn.backend.running import BACKEND, run_stateless

if BACKEND == "tensorflow":
    import tensorflow as tf
elif BACKEND == "jax":
    import jax
else:
    import torch


def compile_inference(
    function: Callable[..., Tensor], variables: Sequence[Any] = ()
) -> Callable[..., Tensor]:
    """Returns `function`, compiled, to be called with tensors or arrays.

    TensorFlow makes it a `tf.function`, JAX jits it, and PyTorch runs it
    uncompiled in inference mode. `variables` are read at each call, so weights
    may change between calls. Random seeds do not advance.

    Args:
        function: Function of tensors that returns a tensor.
        variables: Sequence of Keras variables that `function` reads. Defaults
            to `()`.

    Returns:
        A function with the same arguments.

    Example:

    >>> double = compile_inference(lambda x: 2.0 * x)
    >>> float(double(3.0))
    6.0
    """
    if BACKEND == "tensorflow":
        return _with_tensors(tf.function(function))
    if BACKEND == "jax":
        return _with_tensors(_jit(function, list(variables)))
    return _with_tensors(torch.inference_mode()(function))


def _jit(function, variables):
    # Variables are passed as arguments. In a closure they would be constants.
    @jax.jit
    def pure(values, *args):
        return run_stateless(lambda: function(*args), variables, values)[0]

    def call(*args):
        return pure([_here(variable.value) for variable in variables], *args)

    return call


def _here(value):
    # A replicated value is the same on all devices, so one of them is enough.
    # A process can then sample without the others.
    if keras.distribution.distribution() is None or divides_samples():
        return value
    return value.addressable_data(0) if value.is_fully_replicated else value


def _with_tensors(function):
    # Arrays and Python numbers become tensors first, because TensorFlow would
    # trace the function again for each number.
    @functools.wraps(function)
    def call(*args):
        return function(*(_to_tensor(arg) for arg in args))

    return call


def _to_tensor(value):
    # Schedules are float64, networks are not.
    if isinstance(value, float) or getattr(value, "dtype", None) == "float64":
        return ops.convert_to_tensor(value, dtype="float32")
    return ops.convert_to_tensor(value)
