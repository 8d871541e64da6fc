"""Instance normalization++, with or without a noise level."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_ncsn.annotations import Shape, Tensor


class LevelLayer(keras.layers.Layer):
    """A layer that may learn one set of weights for each noise level.

    Subclasses are called as `layer(inputs, levels=levels)` if `num_levels` is
    set, and as `layer(inputs)` if it is not. They cast `inputs` to
    `compute_dtype` themselves, because Keras would cast `levels` too, and half
    precision has too few digits for a position between two levels.

    Args:
        num_levels: Integer, the number of noise levels to condition on.
            Defaults to `None`, which ignores the noise level.
        **kwargs: Base layer arguments, such as `name` and `dtype`.
    """

    def __init__(self, num_levels: int | None = None, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        if num_levels is not None and num_levels < 1:
            raise ValueError(
                "`num_levels` must be at least 1, or `None` to ignore the "
                f"noise level. Received: num_levels={num_levels}"
            )
        self.num_levels = num_levels

    def compute_output_shape(self, input_shape: Any) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_levels": self.num_levels}

    def _new_norm(self, name, activation=None):
        return InstanceNormalizationPlus(
            num_levels=self.num_levels,
            activation=activation,
            dtype=self.dtype_policy,
            name=name,
        )


@keras.saving.register_keras_serializable(package="keras_ncsn")
class InstanceNormalizationPlus(LevelLayer):
    """Instance normalization that keeps the mean of each channel.

    Plain instance normalization subtracts the mean of every channel, and so
    removes the overall colour of the image. This layer adds the means back,
    after normalizing them across channels and scaling them by a learned weight
    alpha: the output is gamma * (normalized + alpha * means) + beta. This is
    what the authors' code and weights do. In the paper's formula gamma does
    not scale the means.

    With `num_levels`, the layer learns one gamma, alpha and beta for each
    noise level, as NCSN does, and interpolates linearly between neighbouring
    levels. Without it, the layer learns one set, as NCSNv2 does. Everything is
    computed in float32, whatever the `dtype`, and rounded once at the end.

    Args:
        num_levels: Integer, the number of noise levels to condition on.
            Defaults to `None`, which ignores the noise level.
        activation: String or function, as in `keras.layers.Dense`, applied to
            the result. Defaults to `None`.
        epsilon: Float, added to variances before dividing. Defaults to `1e-5`.
        **kwargs: Base layer arguments, such as `name` and `dtype`.

    Call arguments:
        inputs: Float tensor of shape `(batch, height, width, channels)`, with
            at least two channels.
        levels: Float tensor of shape `(batch,)`, the noise level of each
            image, a position in `[0, num_levels - 1]`. Required if, and only
            if, `num_levels` is set.

    Returns:
        A tensor with the shape of `inputs`.

    Example:

    >>> layer = InstanceNormalizationPlus(num_levels=10)
    >>> outputs = layer(ops.ones((2, 8, 8, 3)), levels=ops.array([0.0, 8.5]))
    >>> tuple(outputs.shape)
    (2, 8, 8, 3)

    Reference:

    - [Song and Ermon, 2019](https://arxiv.org/abs/1907.05600), Appendix A.
    """

    def __init__(
        self,
        num_levels: int | None = None,
        activation: str | Callable[[Tensor], Tensor] | None = None,
        epsilon: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_levels=num_levels, **kwargs)
        self.activation = keras.activations.get(activation)
        self.epsilon = epsilon

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        if channels < 2:
            raise ValueError(
                "`inputs` must have at least two channels, because their "
                "means are normalized across channels. "
                f"Received: inputs.shape={tuple(input_shape)}"
            )
        if self.num_levels is None:
            self.gamma = self._add_vector("gamma", channels, _near_one)
            self.alpha = self._add_vector("alpha", channels, _near_one)
            self.beta = self._add_vector("beta", channels, "zeros")
        else:
            self.table = self.add_weight(
                shape=(self.num_levels, 3 * channels),
                initializer=_initial_table,
                autocast=False,
                name="table",
            )

    def call(self, inputs: Tensor, levels: Tensor | None = None) -> Tensor:
        _check_levels(levels, self.num_levels)
        # Half precision has too few digits for the variance, and float16 too
        # small a range for the sum.
        x = ops.cast(
            inputs, keras.backend.result_type(self.compute_dtype, "float32")
        )
        gamma, alpha, beta = self._weights_at(levels, x.dtype)
        # Not by slices, which are many operations to trace on TensorFlow.
        mean = ops.mean(x, axis=(1, 2), keepdims=True)
        # Not `ops.var`: it would compute the mean again, and is slow on
        # PyTorch.
        centred = x - mean
        variance = ops.mean(ops.square(centred), axis=(1, 2), keepdims=True)
        scale = gamma * ops.rsqrt(variance + self.epsilon)
        shift = beta - mean * scale
        shift = shift + gamma * alpha * self._normalize_means(mean)
        # One factor and one offset per channel hold everything, so that the
        # large tensor is read only once more.
        outputs = x * scale + shift
        # The activation comes before rounding, because TensorFlow on CPUs is
        # slower in bfloat16 for everything but matrix products.
        return ops.cast(self.activation(outputs), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "activation": keras.activations.serialize(self.activation),
            "epsilon": self.epsilon,
        }

    def _add_vector(self, name, channels, initializer):
        return self.add_weight(
            shape=(channels,),
            initializer=initializer,
            autocast=False,
            name=name,
        )

    def _weights_at(self, levels, dtype):
        if self.num_levels is None:
            weights = self.gamma, self.alpha, self.beta
            return [ops.cast(weight, dtype) for weight in weights]
        levels = ops.reshape(ops.cast(levels, dtype), (-1, 1, 1))
        lower, upper = ops.floor(levels), ops.ceil(levels)
        fraction = ops.expand_dims(levels - lower, -1)
        # Both rows at once, of shape (batch, 1, 1, channels).
        indices = ops.cast(ops.stack([lower, upper]), "int32")
        rows = ops.take(ops.cast(self.table, dtype), indices, axis=0)
        lower, upper = ops.unstack(rows)
        # The weighted sum of two rows is exact at a level. A matrix product
        # would round to TF32 on some devices.
        row = (1 - fraction) * lower + fraction * upper
        return ops.split(row, 3, axis=-1)

    def _normalize_means(self, mean):
        centred = mean - ops.mean(mean, axis=-1, keepdims=True)
        # Unbiased, as in `torch.var`, because the authors' weights need it.
        variance = ops.sum(ops.square(centred), axis=-1, keepdims=True) / (
            mean.shape[-1] - 1
        )
        return centred * ops.rsqrt(variance + self.epsilon)


def _check_levels(levels, num_levels):
    if levels is None and num_levels is not None:
        raise ValueError(
            "`levels` must be given to a layer that learns one set of weights "
            f"for each noise level. Received: levels=None, "
            f"num_levels={num_levels}"
        )
    if levels is not None and num_levels is None:
        raise ValueError(
            "`levels` must be `None`, because this layer ignores the noise "
            f"level. Received: levels={levels}, num_levels=None. Construct "
            "the layer with `num_levels`."
        )


def _near_one(shape, dtype=None):
    return keras.random.normal(shape, mean=1.0, stddev=0.02, dtype=dtype)


def _initial_table(shape, dtype=None):
    # One row per level: gamma, alpha, beta, in the order of the authors' table.
    num_levels, channels = shape[0], shape[1] // 3
    return ops.concatenate(
        [
            _near_one((num_levels, 2 * channels), dtype),
            ops.zeros((num_levels, channels), dtype),
        ],
        axis=-1,
    )
