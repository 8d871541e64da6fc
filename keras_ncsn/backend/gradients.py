"""Gradients with respect to weights, and to inputs."""

from collections.abc import Callable, Sequence
from typing import Any

from keras_ncsn.annotations import Tensor
from keras_ncsn.backend.devices import replica_context
from keras_ncsn.backend.running import BACKEND, run_stateless

if BACKEND == "tensorflow":
    import tensorflow as tf
elif BACKEND == "jax":
    import jax
else:
    import torch


def value_and_gradients(
    function: Callable[[], Tensor],
    variables: Sequence[Any],
    state: Sequence[Any] = (),
) -> tuple[Tensor, list[Tensor]]:
    """Returns the value of `function` and its gradients.

    Args:
        function: Function without arguments that returns a scalar tensor.
        variables: Sequence of Keras variables, with respect to which the
            gradients are computed.
        state: Sequence of other Keras variables that `function` may read and
            assign, such as seeds and moving averages. Defaults to `()`.

    Returns:
        A scalar tensor and a list of tensors shaped like `variables`. If
        several devices share a batch, both are means over the devices.

    Example:

    >>> import keras
    >>> weight = keras.Variable(3.0)
    >>> value, gradients = value_and_gradients(
    ...     lambda: weight * weight, [weight]
    ... )
    >>> float(value), float(gradients[0])
    (9.0, 6.0)
    """
    if BACKEND == "tensorflow":
        context = replica_context()
        with tf.GradientTape() as tape:
            value = function()
            if context is not None:
                value = value / context.num_replicas_in_sync
        watched = [variable.value for variable in variables]
        gradients = tape.gradient(value, watched)
        if context is not None:
            value, gradients = _sum_over_replicas(context, value, gradients)
        return value, gradients
    if BACKEND == "jax":
        return _value_and_gradients_jax(function, list(variables), list(state))
    with torch.enable_grad():
        value = function()
        watched = [variable.value for variable in variables]
        gradients = torch.autograd.grad(value, watched, allow_unused=True)
    return value.detach(), list(gradients)


def output_and_input_gradient(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    direction: Tensor,
    variables: Sequence[Any] = (),
) -> tuple[Tensor, Tensor]:
    """Returns `function(x)`, and `direction` times its Jacobian.

    The product is the gradient of sum(direction * function(x)) with respect to
    x. `value_and_gradients` can differentiate both results with respect to
    `variables`, but not to x.

    Args:
        function: Function of one tensor that returns a tensor.
        x: Float tensor.
        direction: Tensor shaped like what `function` returns.
        variables: Sequence of all Keras variables that `function` reads or
            assigns. Defaults to `()`.

    Returns:
        A tensor shaped like `direction` and one shaped like `x`.

    Example:

    >>> from keras import ops
    >>> output, gradient = output_and_input_gradient(
    ...     lambda x: x**3, ops.array([2.0]), ops.array([10.0])
    ... )
    >>> ops.convert_to_numpy(output).tolist()
    [8.0]
    >>> ops.convert_to_numpy(gradient).tolist()
    [120.0]
    """
    if BACKEND == "tensorflow":
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = function(x)
        return output, tape.gradient(output, x, output_gradients=direction)
    if BACKEND == "jax":
        return _input_gradient_jax(function, x, direction, list(variables))
    return _input_gradient_torch(function, x, direction)


def output_and_pull_back(
    function: Callable[..., Tensor], x: Tensor, *others: Tensor
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Returns `function(x, *others)`, and a function that pulls back.

    It multiplies a direction by the Jacobian of `function` with respect to x
    (a vector-Jacobian product). The function is evaluated once, however many
    directions follow. Both work in eager code, and in functions and loops that
    `compile_inference` compiles.

    Args:
        function: Function of tensors that returns a tensor. All tensors that
            it uses are its arguments, except the values of Keras variables.
        x: Float tensor.
        *others: Further tensors, which are constants.

    Returns:
        A tensor, and a function of one tensor shaped like it that returns one
        shaped like `x`.

    Example:

    >>> from keras import ops
    >>> output, pull_back = output_and_pull_back(
    ...     lambda x, factor: factor * x**2, ops.array([3.0]), ops.array(5.0)
    ... )
    >>> float(output[0]), float(pull_back(ops.array([1.0]))[0])
    (45.0, 30.0)
    """
    if BACKEND == "tensorflow":
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            output = function(x, *others)
        zero = tf.UnconnectedGradients.ZERO
        return output, lambda direction: tape.gradient(
            output, x, direction, unconnected_gradients=zero
        )
    if BACKEND == "jax":
        output, pull_back = jax.vjp(lambda x: function(x, *others), x)
        return output, lambda direction: pull_back(direction)[0]
    return _pull_back_torch(function, x, others)


def _sum_over_replicas(context, value, gradients):
    present = [
        tf.convert_to_tensor(gradient)
        for gradient in gradients
        if gradient is not None
    ]
    value, *sums = context.all_reduce("SUM", [value, *present])
    sums = iter(sums)
    return value, [
        None if gradient is None else next(sums) for gradient in gradients
    ]


def _value_and_gradients_jax(function, variables, state):
    def pure(values, state_values):
        value, new = run_stateless(
            function, variables + state, [*values, *state_values]
        )
        return value, new[len(variables) :]

    differentiate = jax.value_and_grad(pure, has_aux=True)
    (value, new_state), gradients = differentiate(
        [variable.value for variable in variables],
        [variable.value for variable in state],
    )
    for variable, new in zip(state, new_state, strict=True):
        variable.assign(new)
    return value, gradients


def _input_gradient_jax(function, x, direction, variables):
    values = [variable.value for variable in variables]

    def pure(x):
        # New seeds and averages must be returned: values that are assigned
        # inside would be tracers of this differentiation.
        return run_stateless(
            lambda: function(x), variables, values, losses=False
        )

    output, pull_back, new_values = jax.vjp(pure, x, has_aux=True)
    for variable, new in zip(variables, new_values, strict=True):
        variable.assign(new)
    return output, pull_back(direction)[0]


def _input_gradient_torch(function, x, direction):
    # Keras evaluates without gradients, but this one is part of the loss.
    differentiable = torch.is_grad_enabled()
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        output = function(x)
        (gradient,) = torch.autograd.grad(
            output, x, direction, create_graph=differentiable
        )
    return (output if differentiable else output.detach()), gradient


def _pull_back_torch(function, x, others):
    # Compiled functions run in inference mode, whose tensors autograd refuses,
    # so it gets copies.
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        output = function(x, *(other.clone() for other in others))

    def pull_back(direction):
        if not output.requires_grad:
            return torch.zeros_like(x)
        with torch.inference_mode(False), torch.enable_grad():
            (gradient,) = torch.autograd.grad(
                output,
                x,
                direction.clone(),
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
        return gradient

    return output.detach(), pull_back
