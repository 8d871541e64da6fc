"""The input of a raw network, and how its output becomes a score.

With images of mean m and standard deviation d, the denoised image is
m + c_skip * (x - m) + c_out * raw(c_in * (x - m)). The factors give the raw
network inputs and targets of unit variance at every noise level. The score is
(denoised - x) / sigma**2. `RawToScore` computes it by a simplified formula, in
which no digits cancel at small sigma.
"""

from typing import Any

import keras
from keras import ops

from keras_ncsn.annotations import Shape, Tensor
from keras_ncsn.noise import expand_like


@keras.saving.register_keras_serializable(package="keras_ncsn")
class NormalizeNoisy(keras.layers.Layer):
    """Normalizes noisy images to zero mean and unit variance at every level.

    Args:
        data_mean: Float, the mean of the clean pixels.
        data_std: Float above 0, their standard deviation.
        variance_preserving: Boolean, whether the noisy images are scaled by
            1 / sqrt(1 + sigma**2). Defaults to `False`.
        **kwargs: Base layer arguments, such as `name` and `dtype`.

    Call arguments:
        noisy: Float32 tensor of shape `(batch, ...)`.
        sigma: Float32 tensor of shape `(batch,)`.

    Returns:
        A float32 tensor shaped like `noisy`.

    Example:

    >>> layer = NormalizeNoisy(data_mean=1.0, data_std=3.0)
    >>> float(layer(ops.array([[6.0]]), ops.array([4.0]))[0, 0])
    1.0

    Reference:

    - [Karras et al., 2022](https://arxiv.org/abs/2206.00364), Table 1.
    """

    def __init__(
        self,
        data_mean: float,
        data_std: float,
        variance_preserving: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.data_mean = data_mean
        self.data_std = data_std
        self.variance_preserving = variance_preserving

    def call(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        sigma = expand_like(sigma, noisy)
        if self.variance_preserving:
            noisy = noisy * ops.sqrt(1.0 + ops.square(sigma))
        spread = ops.sqrt(ops.square(sigma) + self.data_std**2)
        return (noisy - self.data_mean) / spread

    def compute_output_shape(
        self, noisy_shape: Shape, sigma_shape: Shape | None = None
    ) -> Shape:
        return noisy_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "data_mean": self.data_mean,
            "data_std": self.data_std,
            "variance_preserving": self.variance_preserving,
        }


@keras.saving.register_keras_serializable(package="keras_ncsn")
class RawToScore(keras.layers.Layer):
    """Computes the score from the output of the raw network.

    Args:
        data_std: Float above 0, the standard deviation of the clean pixels.
        variance_preserving: Boolean, as in `NormalizeNoisy`. Defaults to
            `False`.
        **kwargs: Base layer arguments, such as `name` and `dtype`.

    Call arguments:
        raw: Float tensor of shape `(batch, ...)`, of about unit variance.
        normalized: Float32 tensor of that shape, from `NormalizeNoisy`.
        sigma: Float32 tensor of shape `(batch,)`.

    Returns:
        A float32 tensor shaped like `raw`.

    Example:

    >>> layer = RawToScore(data_std=3.0)
    >>> score = layer(ops.zeros((1, 1)), ops.ones((1, 1)), ops.array([4.0]))
    >>> round(float(score[0, 0]), 4)  # (1 - 6) / 25, for NormalizeNoisy's 6
    -0.2

    Reference:

    - [Karras et al., 2022](https://arxiv.org/abs/2206.00364), Table 1.
    """

    def __init__(
        self,
        data_std: float,
        variance_preserving: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.data_std = data_std
        self.variance_preserving = variance_preserving

    def call(self, raw: Tensor, normalized: Tensor, sigma: Tensor) -> Tensor:
        sigma = expand_like(sigma, raw)
        spread = ops.sqrt(ops.square(sigma) + self.data_std**2)
        raw = ops.cast(raw, "float32")
        score = (self.data_std / sigma * raw - normalized) / spread
        if self.variance_preserving:
            score = score * ops.sqrt(1.0 + ops.square(sigma))
        return score

    def compute_output_shape(
        self,
        raw_shape: Shape,
        normalized_shape: Shape | None = None,
        sigma_shape: Shape | None = None,
    ) -> Shape:
        return raw_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "data_std": self.data_std,
            "variance_preserving": self.variance_preserving,
        }


@keras.saving.register_keras_serializable(package="keras_ncsn")
class SigmaFeatures(keras.layers.Layer):
    """Sines and cosines of the logarithm of the noise level.

    Args:
        num_features: Integer, the number of features, even.
        **kwargs: Base layer arguments, such as `name` and `dtype`.

    Call arguments:
        sigma: Float32 tensor of shape `(batch,)`, above 0.

    Returns:
        A float32 tensor of shape `(batch, num_features)`, in [-1, 1].

    Example:

    >>> tuple(SigmaFeatures(8)(ops.array([0.1, 1.0])).shape)
    (2, 8)

    Reference:

    - [Karras et al., 2022](https://arxiv.org/abs/2206.00364), Appendix F.
    """

    def __init__(self, num_features: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.num_features = num_features

    def call(self, sigma: Tensor) -> Tensor:
        # Two noise levels look different once ln(sigma) differs by about 0.2.
        # The periods, from 2 pi / 16 to 2 pi / 0.1, resolve this and cover the
        # whole range.
        exponents = ops.linspace(0.0, 1.0, self.num_features // 2)
        frequencies = 0.1 * ops.power(160.0, exponents)
        angles = ops.expand_dims(ops.log(sigma), -1) * frequencies
        return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)

    def compute_output_shape(self, sigma_shape: Shape) -> Shape:
        return (*sigma_shape, self.num_features)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"num_features": self.num_features}
