"""What the score networks have in common."""

import keras


class ScoreNetwork(keras.Model):
    """A functional model that is rebuilt from the arguments it was made of.

    Args:
        inputs: List of two Keras inputs, noisy images and noise levels.
        score: The output, shaped like the noisy images.
        arguments: Dictionary of the subclass' own constructor arguments, its
            config.
        dtype: Dtype policy of the layers, or `None` for the global one.
        name: String, or `None` for one of Keras' choice.
        trainable: Boolean. Defaults to `True`.
    """

    def __init__(
        self,
        inputs,
        score,
        arguments,
        dtype=None,
        name=None,
        trainable=True,
    ):
        # By name, as Keras drops arguments that it does not know.
        super().__init__(
            inputs=inputs, outputs=score, name=name, trainable=trainable
        )
        # Noisy images stay float32 at the border; each layer casts its own.
        self.autocast = False
        self.dtype_policy = keras.dtype_policies.get(dtype)
        self._arguments = arguments

    def get_config(self):
        return dict(self._arguments) | {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)
