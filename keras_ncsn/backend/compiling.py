"""Compiled functions."""

import functools

import keras
from keras import ops

from keras_ncsn.backend.running import BACKEND, run_stateless

if BACKEND == "tensorflow":
    import tensorflow as tf
elif BACKEND == "jax":
    import jax
else:
    import torch


def compile_inference(function, variables=()):
    """Returns `function`, compiled, to be called with tensors or arrays.

    On TensorFlow it becomes a `tf.function`, on JAX it is jitted; PyTorch
    calls it as it is, in inference mode. It reads `variables` as they are at
    each call, so weights may change in between. Random seeds do not advance.

    Args:
        function: Function of tensors that returns a tensor.
        variables: Sequence of Keras variables that `function` reads.

    Returns:
        A function of the same arguments.

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
    # Variables go in as arguments: closed over, they would be constants.
    @jax.jit
    def pure(values, *args):
        return run_stateless(lambda: function(*args), variables, values)[0]

    def call(*args):
        return pure([_here(variable.value) for variable in variables], *args)

    return call


def _here(value):
    # What all devices hold alike, one can use alone: so a process may sample
    # without the others.
    if keras.distribution.distribution() is None:
        return value
    return value.addressable_data(0) if value.is_fully_replicated else value


def _with_tensors(function):
    # Arrays and Python numbers become tensors first: TensorFlow would trace
    # anew for each number.
    @functools.wraps(function)
    def call(*args):
        return function(*(_to_tensor(arg) for arg in args))

    return call


def _to_tensor(value):
    # Schedules are float64 NumPy, networks are not.
    if isinstance(value, float) or getattr(value, "dtype", None) == "float64":
        return ops.convert_to_tensor(value, dtype="float32")
    return ops.convert_to_tensor(value)
