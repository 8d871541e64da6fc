"""What is typical of a data set, by a few features of its images."""

import dataclasses

import lazy_loader
import numpy as np

from keras_ncsn.annotations import Tensor
from keras_ncsn.score_function import ScoreFunction, fill_levels

keras = lazy_loader.load("keras")


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """The features of typical images, as a normal distribution.

    `NCSNModel.typicality_reference` makes it.

    Args:
        method: String, what the features are: `"score_norms"` or
            `"likelihood"`.
        mean: Array of shape `(num_features,)`.
        covariance: Array of shape `(num_features, num_features)`.

    Example:

    >>> features = np.random.default_rng(0).normal(3.0, 2.0, (1000, 1))
    >>> reference = Reference.of("likelihood", features)
    >>> [round(float(x)) for x in reference.typicality(np.array([[3], [-7]]))]
    [0, -5]
    """

    method: str
    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, method: str, features: np.ndarray) -> "Reference":
        """Returns the reference that fits features of typical images.

        Args:
            method: As in `Reference`.
            features: Array of shape `(num_images, num_features)`, with more
                images than features.

        Returns:
            A `Reference`.
        """
        covariance = np.atleast_2d(np.cov(features, rowvar=False))
        return cls(method, features.mean(axis=0), covariance)

    def typicality(self, features: np.ndarray) -> np.ndarray:
        """Returns minus the distance of features from the mean.

        It is the Mahalanobis distance: of one feature, the number of standard
        deviations.

        Args:
            features: Array of shape `(num_images, num_features)`.

        Returns:
            A float64 array of shape `(num_images,)`, at most 0.
        """
        spreads = np.sqrt(np.diag(self.covariance))
        spreads = np.where(spreads > 0, spreads, 1.0)
        correlation = self.covariance / np.outer(spreads, spreads)
        # What varies only by rounding errors of float32 is left out.
        precision = np.linalg.pinv(correlation, rcond=1e-8, hermitian=True)
        apart = (features - self.mean) / spreads
        squares = np.einsum("ni,ij,nj->n", apart, precision, apart)
        return -np.sqrt(np.maximum(squares, 0.0))


def score_norm(score_fn: ScoreFunction, x: Tensor, sigma: Tensor) -> Tensor:
    """Returns sigma times the length of the score of each image.

    Args:
        score_fn: As in `Sampler.sample`.
        x: Float32 tensor of shape `(batch, ...)`.
        sigma: Scalar tensor, the noise level of all images.

    Returns:
        A tensor of shape `(batch,)`.
    """
    score = sigma * score_fn(x, fill_levels(x, sigma))
    axes = tuple(range(1, len(x.shape)))
    return keras.ops.sqrt(keras.ops.sum(keras.ops.square(score), axis=axes))
