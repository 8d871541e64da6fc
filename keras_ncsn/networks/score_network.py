"""What the score networks have in common."""

from collections.abc import Sequence
from typing import Any, Self

import keras

from keras_ncsn.annotations import Tensor


class ScoreNetwork(keras.Model):
    """A functional model whose config is the arguments of its constructor.

    Args:
        inputs: List of Keras inputs: noisy images, noise levels, and
            perhaps a condition.
        score: The output, shaped like the noisy images.
        arguments: Dictionary of the constructor arguments of the subclass,
            which become its config.
        dtype: Dtype policy of the layers, or `None` for the global one.
        name: String, or `None` for a name that Keras chooses.
        trainable: Boolean. Defaults to `True`.
    """

    def __init__(
        self,
        inputs: Sequence[Tensor],
        score: Tensor,
        arguments: dict[str, Any],
        dtype: str | keras.DTypePolicy | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        # No **kwargs: Keras would silently drop unknown arguments.
        super().__init__(
            inputs=inputs, outputs=score, name=name, trainable=trainable
        )
        # Keras must not cast the noisy images: they stay float32, and each
        # layer casts its inputs itself.
        self.autocast = False
        self.dtype_policy = keras.dtype_policies.get(dtype)
        self._arguments = arguments

    def get_config(self) -> dict[str, Any]:
        return dict(self._arguments) | {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
        }

    @classmethod
    def from_config(
        cls,
        config: dict[str, Any],
        custom_objects: dict[str, Any] | None = None,
    ) -> Self:
        return cls(**config)
