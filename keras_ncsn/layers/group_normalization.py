"""Group normalization with the noise level in its scale and offset."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_ncsn")
class ModulatedGroupNormalization(keras.layers.Layer):
    """Group normalization whose scale and offset may depend on the input.

    Each group of channels is brought to zero mean and unit spread, then each
    channel is scaled and shifted. With a `modulation`, which a dense layer
    computes from the noise level, the scale is multiplied by
    (1 + modulation's first half) and the second half is added.

    All is computed in float32 whatever the dtype policy, and rounded once, at
    the end: TensorFlow on CPUs takes longer for bfloat16, but for products of
    matrices. The factors are folded into one multiply-add an element.

    Args:
        groups: Integer, the number of groups; it must divide the channels.
        activation: String or function, as in `keras.layers.Dense`, of what was
            normalized. Defaults to `None`.
        epsilon: Float, added to variances. Defaults to `1e-5`.
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

    def __init__(self, groups, activation=None, epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.groups = groups
        self.activation = keras.activations.get(activation)
        self.epsilon = epsilon

    def build(self, inputs_shape, modulation_shape=None):
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

    def call(self, inputs, modulation=None):
        inputs = ops.cast(inputs, "float32")
        mean, variance = self._statistics(inputs)
        scale = ops.cast(self.gamma, "float32") * ops.rsqrt(
            variance + self.epsilon
        )
        shift = ops.cast(self.beta, "float32") - mean * scale
        if modulation is not None:
            modulation = ops.cast(modulation, "float32")
            factor, offset = ops.split(modulation, 2, axis=-1)
            scale = scale * (1.0 + factor)
            shift = shift * (1.0 + factor) + offset
        x = inputs * scale[:, None, None, :] + shift[:, None, None, :]
        return ops.cast(self.activation(x), self.compute_dtype)

    def _statistics(self, inputs):
        # Means over the pixels first: what is left to do by group is tiny.
        channels = inputs.shape[-1]
        mean = ops.mean(inputs, axis=(1, 2))
        square = ops.mean(ops.square(inputs), axis=(1, 2))
        grouped = (-1, self.groups, channels // self.groups)
        mean = ops.mean(ops.reshape(mean, grouped), axis=-1)
        square = ops.mean(ops.reshape(square, grouped), axis=-1)
        variance = ops.maximum(square - ops.square(mean), 0.0)
        repeats = channels // self.groups
        return (
            ops.repeat(mean, repeats, axis=-1),
            ops.repeat(variance, repeats, axis=-1),
        )

    def compute_output_shape(self, inputs_shape, modulation_shape=None):
        return inputs_shape

    def get_config(self):
        return super().get_config() | {
            "groups": self.groups,
            "activation": keras.activations.serialize(self.activation),
            "epsilon": self.epsilon,
        }
