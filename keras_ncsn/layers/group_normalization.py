"""Group normalization whose scale and offset follow the noise level."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_ncsn import backend
from keras_ncsn.annotations import Shape, Tensor


@keras.saving.register_keras_serializable(package="keras_ncsn")
class ModulatedGroupNormalization(keras.layers.Layer):
    """Group normalization whose scale and offset may depend on the input.

    Each group of channels is normalized to zero mean and unit variance, then
    each channel is scaled and shifted. `modulation`, which a dense layer
    computes from the noise level, scales and shifts the result once more: it
    is multiplied by 1 + the first half of `modulation`, and the second half is
    added.

    Everything is computed in float32, whatever the dtype policy, and rounded
    once at the end, because TensorFlow on CPUs is slower in bfloat16 for
    everything but matrix products. All factors are combined, so that each
    element takes one multiplication and one addition after its mean is taken
    off.

    Args:
        groups: Integer, the number of groups, a divisor of the number of
            channels.
        activation: String or function, as in `keras.layers.Dense`, applied to
            the result. Defaults to `None`.
        epsilon: Float, added to variances before dividing. Defaults to `1e-5`.
        **kwargs: Base layer arguments, such as `name` and `dtype`.

    Call arguments:
        inputs: Float tensor of shape `(batch, height, width, channels)`.
        modulation: Optional float tensor of shape `(batch, 2 * channels)`.

    Returns:
        A tensor with the shape of `inputs`.

    Example:

    >>> layer = ModulatedGroupNormalization(groups=2)
    >>> tuple(layer(ops.ones((1, 8, 8, 4)), ops.zeros((1, 8))).shape)
    (1, 8, 8, 4)

    Reference:

    - [Wu and He, 2018](https://arxiv.org/abs/1803.08494);
      [Dhariwal and Nichol, 2021](https://arxiv.org/abs/2105.05233), 3.1.
    """

    def __init__(
        self,
        groups: int,
        activation: str | Callable[[Tensor], Tensor] | None = None,
        epsilon: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.groups = groups
        self.activation = keras.activations.get(activation)
        self.epsilon = epsilon

    def build(
        self, inputs_shape: Shape, modulation_shape: Shape | None = None
    ) -> None:
        channels = inputs_shape[-1]
        if channels % self.groups:
            raise ValueError(
                "`groups` must divide the number of channels. Received: "
                f"groups={self.groups}, channels={channels}"
            )
        self.gamma = self.add_weight(
            shape=(channels,),
            initializer="ones",
            autocast=False,
            name="gamma",
        )
        self.beta = self.add_weight(
            shape=(channels,),
            initializer="zeros",
            autocast=False,
            name="beta",
        )

    def call(self, inputs: Tensor, modulation: Tensor | None = None) -> Tensor:
        inputs = ops.cast(inputs, "float32")
        scale = ops.cast(self.gamma, "float32")
        shift = ops.cast(self.beta, "float32")
        if modulation is not None:
            modulation = ops.cast(modulation, "float32")
            factor, offset = ops.split(modulation, 2, axis=-1)
            scale = scale * (1.0 + factor)
            shift = shift * (1.0 + factor) + offset
        x = backend.normalize_groups(
            inputs, self.groups, scale, shift, self.epsilon
        )
        return ops.cast(self.activation(x), self.compute_dtype)

    def compute_output_shape(
        self, inputs_shape: Shape, modulation_shape: Shape | None = None
    ) -> Shape:
        return inputs_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "groups": self.groups,
            "activation": keras.activations.serialize(self.activation),
            "epsilon": self.epsilon,
        }
