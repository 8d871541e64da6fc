"""A score network for points in few dimensions."""

from typing import Any

import keras
from keras import layers

from keras_ncsn.checks import check_above_zero, check_finite
from keras_ncsn.networks.condition_inputs import (
    add_condition,
    checked_num_rows,
    make_inputs,
)
from keras_ncsn.networks.preconditioning import (
    NormalizeNoisy,
    RawToScore,
    SigmaFeatures,
)
from keras_ncsn.networks.score_network import ScoreNetwork
from keras_ncsn.networks.sizes import check_mlp_sizes


@keras.saving.register_keras_serializable(package="keras_ncsn")
class MLP(ScoreNetwork):
    """A perceptron that estimates the score of points.

    In two dimensions the true score can be computed and drawn, so this network
    shows what score networks learn.

    Args:
        num_dimensions: Integer, the number of coordinates of a point. Defaults
            to `2`.
        width: Integer, the number of units of each hidden layer. Defaults to
            `128`.
        num_layers: Integer, at least 1, the number of hidden layers. Defaults
            to `3`.
        data_mean: Float, the mean of the coordinates. Defaults to `0.0`.
        data_std: Float above 0, their standard deviation. Defaults to `1.0`.
        variance_preserving: Boolean, whether the noisy points are scaled by
            1 / sqrt(1 + sigma**2). Defaults to `False`.
        num_classes: As in `UNet`. Defaults to `None`.
        condition_size: As in `UNet`. Defaults to `None`.
        dtype: Dtype policy of all layers. Defaults to the global one.
        **kwargs: Base model arguments, such as `name`.

    Call arguments:
        inputs: List of noisy points, a float32 tensor of shape
            `(batch, num_dimensions)`; their noise levels, a float32 tensor of
            shape `(batch,)`, above 0; and perhaps conditions, as in `UNet`.

    Returns:
        The score, a float32 tensor shaped like the points.

    Example:

    >>> from keras import ops
    >>> tuple(MLP(width=8)([ops.ones((5, 2)), ops.ones(5)]).shape)
    (5, 2)

    Reference:

    - [Song and Ermon, 2019](https://arxiv.org/abs/1907.05600), Appendix B.1;
      [Karras et al., 2022](https://arxiv.org/abs/2206.00364), preconditioning.
    """

    def __init__(
        self,
        num_dimensions: int = 2,
        width: int = 128,
        num_layers: int = 3,
        data_mean: float = 0.0,
        data_std: float = 1.0,
        variance_preserving: bool = False,
        num_classes: int | None = None,
        condition_size: int | None = None,
        dtype: str | keras.DTypePolicy | None = None,
        **kwargs: Any,
    ) -> None:
        check_mlp_sizes(num_dimensions, width, num_layers)
        check_finite(data_mean=data_mean)
        check_above_zero(data_std=data_std)
        num_rows = checked_num_rows(num_classes, condition_size)
        inputs = make_inputs((num_dimensions,), num_classes, condition_size)
        noisy, sigma = inputs[:2]
        normalized = NormalizeNoisy(data_mean, data_std, variance_preserving)(
            noisy, sigma
        )
        features = SigmaFeatures(16)(sigma)
        features = add_condition(features, inputs, num_rows, dtype)
        x = layers.Concatenate(dtype=dtype)([normalized, features])
        for index in range(num_layers):
            x = layers.Dense(width, "silu", dtype=dtype, name=f"dense_{index}")(
                x
            )
        raw = layers.Dense(num_dimensions, dtype="float32", name="last")(x)
        score = RawToScore(data_std, variance_preserving)(
            raw, normalized, sigma
        )
        arguments = {
            "num_dimensions": num_dimensions,
            "width": width,
            "num_layers": num_layers,
            "data_mean": data_mean,
            "data_std": data_std,
            "variance_preserving": variance_preserving,
            "num_classes": num_classes,
            "condition_size": condition_size,
        }
        super().__init__(inputs, score, arguments, dtype, **kwargs)
        self.variance_preserving = variance_preserving
        self.num_classes = num_classes
