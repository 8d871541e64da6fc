"""A worse network that shows a better one what to avoid."""

import keras
from keras import ops

from keras_ncsn.checks import check_at_least, check_levels
from keras_ncsn.noise import expand_like


@keras.saving.register_keras_serializable(package="keras_ncsn")
class Guide(keras.layers.Layer):
    """A worse score network, and how far new images go away from what it says.

    Where a network is unsure it spreads samples between the kinds of images
    that it knows, and a smaller one, or one trained for less long, does so
    more. The difference of the two points away from such images: with weight
    w the score becomes `score + (w - 1) * (score - score of the guide)`.
    Samples get better, and somewhat less varied the larger w is.

    Args:
        network: A score network, for the same images and trained on the same
            data as the one that it guides, that is worse in the same ways. It
            is set not to be trained any more.
        weight: Float, at least 1, how far to go with the model's own sampler;
            at 1 the guide has no say. Defaults to `2.0`.
        sigma_range: Pair of floats, the noise levels between which it guides:
            above, little is decided, and below, all is. Defaults to
            `(0.2, 3.0)`, which suits images whose pixels spread by 0.3.
        **kwargs: Base layer arguments, such as `name`.

    Example:

    >>> from keras_ncsn import NCSNModel
    >>> from keras_ncsn.networks import MLP
    >>> model = NCSNModel(MLP(width=16), guide=Guide(MLP(width=4), weight=1.5))
    >>> model.generate(3, steps_per_level=2, verbose=0).shape
    (3, 2)

    Reference:

    - [Karras et al., 2024](https://arxiv.org/abs/2406.02507), autoguidance;
      [Kynkäänniemi et al., 2024](https://arxiv.org/abs/2404.07724), the range.
    """

    def __init__(self, network, weight=2.0, sigma_range=(0.2, 3.0), **kwargs):
        super().__init__(trainable=False, **kwargs)
        check_at_least(1, weight=weight)
        network.trainable = False
        self.network = network
        self.weight = weight
        self.sigma_range = sigma_range
        self.built = True

    @property
    def sigma_range(self):
        """Pair of floats, the noise levels between which it guides."""
        return self._sigma_range

    @sigma_range.setter
    def sigma_range(self, sigma_range):
        check_levels(sigma_range=sigma_range)
        self._sigma_range = tuple(sigma_range)

    def extrapolate(self, score, guide_score, sigma, weight):
        """Returns the score that goes beyond the better of two.

        Args:
            score: Float32 tensor of shape `(batch, ...)`, of the better one.
            guide_score: Float32 tensor of that shape, of the guide.
            sigma: Float32 tensor of shape `(batch,)`, the noise levels.
            weight: Float, in place of the guide's own.

        Returns:
            A float32 tensor of that shape.

        Example:

        >>> from keras_ncsn.networks import MLP
        >>> guide = Guide(MLP(width=4), sigma_range=(0.1, 1.0))
        >>> scores = ops.array([[5.0], [5.0]]), ops.array([[4.0], [4.0]])
        >>> score = guide.extrapolate(*scores, ops.array([0.5, 2.0]), 3.0)
        >>> [float(x) for x in score[:, 0]]
        [7.0, 5.0]
        """
        low, high = self.sigma_range
        sigma = expand_like(sigma, score)
        guided = ops.logical_and(sigma >= low, sigma <= high)
        beyond = (weight - 1.0) * (score - guide_score)
        return score + ops.where(guided, beyond, 0.0)

    def get_config(self):
        config = super().get_config() | {
            "network": keras.saving.serialize_keras_object(self.network),
            "weight": self.weight,
            "sigma_range": self.sigma_range,
        }
        del config["trainable"]
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        network = keras.saving.deserialize_keras_object(
            config["network"], custom_objects=custom_objects
        )
        return cls(**config | {"network": network})
