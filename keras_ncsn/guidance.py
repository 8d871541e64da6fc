"""Guidance: a worse score shows a better one what to avoid.

`Guide` is the part of a model that says what to avoid. The functions make a
score function of others.
"""

from collections.abc import Sequence
from typing import Any, Self

import keras
from keras import ops

from keras_ncsn.annotations import Tensor
from keras_ncsn.checks import check_at_least, check_levels, check_share
from keras_ncsn.noise import expand_like
from keras_ncsn.score_function import ScoreFunction


@keras.saving.register_keras_serializable(package="keras_ncsn")
class Guide(keras.layers.Layer):
    """A worse score, from which sampling moves away.

    With weight w the score becomes
    `score + (w - 1) * (score - worse score)`. A larger w gives better but less
    varied samples. The worse score comes from one of two sources, or is a
    mixture of both:

    - A worse network (autoguidance). Where a network is unsure, it also draws
      mixtures of the kinds of images that it has learned. A network that is
      smaller or trained for a shorter time draws more of them. The difference
      of the two scores points away from such mixtures. The images become
      cleaner.
    - The model's own network without the condition (classifier-free
      guidance). The difference points to images that are more typical of the
      label than of the data as a whole. The images show their label more
      clearly.

    At sigma = 0 the guided score is the score of some distribution. The samples
    do not follow this distribution, because at larger noise levels the guided
    score is not the score of this distribution with noise added.

    Args:
        network: A score network for the same images that is worse in the same
            ways as the model's, such as a smaller one trained on the same
            data. It becomes untrainable. If it takes a condition, it gets the
            model's, including "none", which it must have learned if the
            model's network has. Defaults to `None`: classifier-free guidance
            alone.
        weight: Float, at least 1, the strength of the guidance with the model's
            own sampler. With 1 the guide has no effect. Defaults to `2.0`.
        sigma_range: Pair of floats, the noise levels between which it guides.
            Above this range the image is not decided yet; below it, the image
            is settled. Defaults to `(0.2, 3.0)`, which suits images whose
            pixels have a standard deviation of 0.3.
        unconditional_share: Float in [0, 1], the share of the model's own
            unconditional score in the worse score. Defaults to `None`: 1
            without a network, else 0.
        **kwargs: Base layer arguments, such as `name`.

    Example:

    >>> from keras_ncsn import NCSNModel
    >>> from keras_ncsn.networks import MLP
    >>> model = NCSNModel(MLP(width=16), guide=Guide(MLP(width=4), weight=1.5))
    >>> model.generate(3, steps_per_level=2, verbose=0).shape
    (3, 2)

    Reference:

    - [Karras et al., 2024](https://arxiv.org/abs/2406.02507), autoguidance;
      [Ho and Salimans, 2022](https://arxiv.org/abs/2207.12598),
      classifier-free guidance;
      [Kynkäänniemi et al., 2024](https://arxiv.org/abs/2404.07724), the range.
    """

    def __init__(
        self,
        network: keras.Model | None = None,
        weight: float = 2.0,
        sigma_range: tuple[float, float] = (0.2, 3.0),
        unconditional_share: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(trainable=False, **kwargs)
        check_at_least(1, weight=weight)
        if unconditional_share is None:
            unconditional_share = 1.0 if network is None else 0.0
        check_share(unconditional_share=unconditional_share)
        if network is not None:
            network.trainable = False
        elif unconditional_share < 1:
            raise ValueError(
                "A `Guide` without a network must have an "
                "`unconditional_share` of 1. Received: "
                f"unconditional_share={unconditional_share}. Pass a network."
            )
        self.network: Any = network
        self.unconditional_share = unconditional_share
        self.weight = weight
        self.sigma_range = sigma_range
        self.built = True

    @property
    def sigma_range(self) -> tuple[float, float]:
        """Pair of floats, the noise levels between which it guides."""
        return self._sigma_range

    @sigma_range.setter
    def sigma_range(self, sigma_range: tuple[float, float]) -> None:
        check_levels(sigma_range=sigma_range)
        low, high = sigma_range
        self._sigma_range = low, high

    def extrapolate(
        self, score: Tensor, worse: Tensor, sigma: Tensor, weight: float
    ) -> Tensor:
        """Returns the guided score: beyond `score`, away from `worse`.

        Args:
            score: Float32 tensor of shape `(batch, ...)`, the score of the
                model's network.
            worse: Float32 tensor of that shape, the worse score.
            sigma: Float32 tensor of shape `(batch,)`, the noise levels.
            weight: Float, which replaces the guide's own `weight`.

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
        beyond = (weight - 1.0) * (score - worse)
        return score + ops.where(guided, beyond, 0.0)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config() | {
            "network": keras.saving.serialize_keras_object(self.network),
            "weight": self.weight,
            "sigma_range": self.sigma_range,
            "unconditional_share": self.unconditional_share,
        }
        del config["trainable"]
        return config

    @classmethod
    def from_config(
        cls,
        config: dict[str, Any],
        custom_objects: dict[str, Any] | None = None,
    ) -> Self:
        network = config.get("network")
        if network is not None:
            network = keras.saving.deserialize_keras_object(
                network, custom_objects=custom_objects
            )
        return cls(**config | {"network": network})


def guided(
    score_fn: ScoreFunction,
    worse_fn: ScoreFunction,
    guide: Guide,
    weight: float,
) -> ScoreFunction:
    """Returns the guided score: beyond a score, away from a worse one.

    Args:
        score_fn: A `ScoreFunction`.
        worse_fn: A `ScoreFunction` with the same arguments.
        guide: A `Guide`, whose `sigma_range` applies.
        weight: Float, as in `Guide`, which replaces the guide's own.

    Returns:
        A `ScoreFunction`.

    Example:

    >>> better = ScoreFunction(lambda x, sigma: -x)
    >>> worse = ScoreFunction(lambda x, sigma: -0.5 * x)
    >>> score_fn = guided(better, worse, Guide(unconditional_share=1.0), 3.0)
    >>> float(score_fn(ops.ones((1, 1)), ops.ones(1))[0, 0])
    -2.0
    """

    def function(x, sigma, *bound):
        score = score_fn.function(x, sigma, *bound)
        worse = worse_fn.function(x, sigma, *bound)
        return guide.extrapolate(score, worse, sigma, weight)

    variables = [*score_fn.variables, *worse_fn.variables]
    return ScoreFunction(function, variables)


def without_condition(score_fn: ScoreFunction, none: float) -> ScoreFunction:
    """Returns the score without a condition, whatever condition is bound.

    Args:
        score_fn: A `ScoreFunction` to which a condition is bound.
        none: Number, the condition that means "none".

    Returns:
        A `ScoreFunction` to which a condition is bound, which it ignores.

    Example:

    >>> around = ScoreFunction(lambda x, sigma, mean: mean - x)
    >>> score_fn = without_condition(around, none=0.0)
    >>> float(score_fn.bind(ops.array(5.0))(2.0, None))
    -2.0
    """

    def function(x, sigma, condition):
        return score_fn.function(x, sigma, ops.full_like(condition, none))

    return ScoreFunction(function, score_fn.variables)


def mixture(
    score_fns: Sequence[ScoreFunction], shares: Sequence[float]
) -> ScoreFunction:
    """Returns the weighted sum of scores.

    Args:
        score_fns: Sequence of `ScoreFunction`s with the same arguments.
        shares: Sequence of floats, the weight of each. A score with a weight
            of 0 is not computed.

    Returns:
        A `ScoreFunction`.

    Example:

    >>> first = ScoreFunction(lambda x, sigma: -x)
    >>> second = ScoreFunction(lambda x, sigma: -3.0 * x)
    >>> mixture([first, second], [0.5, 0.5])(1.0, None)
    -2.0
    """
    used = [pair for pair in zip(shares, score_fns, strict=True) if pair[0] > 0]

    def function(x, sigma, *bound):
        return sum(share * fn.function(x, sigma, *bound) for share, fn in used)

    return ScoreFunction(function, [v for _, fn in used for v in fn.variables])
