"""Priors whose posteriors are known in closed form, for calibration."""

import dataclasses

import numpy as np
from keras import ops

from keras_ncsn.score_function import ScoreFunction


@dataclasses.dataclass(frozen=True)
class Mixture:
    """A mixture of normal distributions of images.

    Args:
        weights: Array of shape `(components,)` that sums to 1.
        means: Array of shape `(components, *image_shape)`.
        covariances: Array of shape `(components, size, size)`, where `size` is
            the number of values of an image.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    @classmethod
    def normal(cls, mean, covariance):
        return cls(np.ones(1), np.asarray(mean)[None], covariance[None])

    @property
    def image_shape(self):
        return self.means.shape[1:]

    @property
    def mean(self):
        return np.tensordot(self.weights, self.means, 1)

    @property
    def covariance(self):
        """Array of shape `(size, size)`, within and between components."""
        flat = self.means.reshape(len(self.weights), -1)
        apart = flat - self.weights @ flat
        between = np.einsum("k,ki,kj->ij", self.weights, apart, apart)
        return np.tensordot(self.weights, self.covariances, 1) + between

    def sample(self, count, rng):
        """Returns images of shape `(count, *image_shape)`."""
        kinds = rng.choice(len(self.weights), count, p=self.weights)
        values, vectors = np.linalg.eigh(self.covariances)
        roots = vectors * np.sqrt(np.maximum(values, 0))[:, None]
        draws = rng.standard_normal((count, values.shape[-1]))
        draws = np.einsum("nij,nj->ni", roots[kinds], draws)
        return self.means[kinds] + draws.reshape(count, *self.image_shape)

    def score_function(self):
        """Returns the `ScoreFunction` of image + sigma * z."""
        values, vectors = np.linalg.eigh(self.covariances)
        flat = self.means.reshape(len(self.weights), -1)
        kinds = [
            [np.float32(part) for part in kind]
            for kind in zip(
                np.log(self.weights), flat, values, vectors, strict=True
            )
        ]

        def function(x, sigma):
            noise = ops.square(sigma)[:, None]
            flat = ops.reshape(x, (x.shape[0], -1))
            logits, scores = [], []
            for log_weight, mean, values, vectors in kinds:
                mean, values, vectors = map(
                    ops.convert_to_tensor, (mean, values, vectors)
                )
                variances = ops.maximum(values, 0.0) + noise
                inner = ops.matmul(flat - mean, vectors)
                scores.append(
                    -ops.matmul(inner / variances, ops.transpose(vectors))
                )
                distances = ops.square(inner) / variances + ops.log(variances)
                logits.append(float(log_weight) - ops.sum(distances, -1) / 2)
            logits = ops.stack(logits, -1)
            # Keras warns of a softmax of one component.
            shares = ops.exp(logits - ops.logsumexp(logits, -1, keepdims=True))
            score = ops.sum(shares[:, None] * ops.stack(scores, -1), -1)
            return ops.reshape(score, x.shape)

        return ScoreFunction(function)

    def posterior(self, matrix, measurements, noise_std):
        """Returns the `Mixture` of images that gave measurements.

        Args:
            matrix: Array of shape `(num_measurements, size)`.
            measurements: Array of shape `(num_measurements,)`.
            noise_std: Float, at least 0.
        """
        # Only measurements that depend on the image count, so that a
        # covariance of measurements can be inverted.
        left, values, right = np.linalg.svd(matrix, full_matrices=False)
        seen = values > 1e-9 * values.max()
        matrix = values[seen, None] * right[seen]
        measurements = left[:, seen].T @ measurements
        noise = noise_std**2 * np.eye(len(measurements))
        flat = self.means.reshape(len(self.weights), -1)
        logits, means, covariances = [], [], []
        for weight, mean, covariance in zip(
            self.weights, flat, self.covariances, strict=True
        ):
            of_measurements = matrix @ covariance @ matrix.T + noise
            residual = measurements - matrix @ mean
            gain = np.linalg.solve(of_measurements, matrix @ covariance).T
            means.append(mean + gain @ residual)
            covariances.append(covariance - gain @ matrix @ covariance)
            distance = residual @ np.linalg.solve(of_measurements, residual)
            size = np.linalg.slogdet(of_measurements)[1]
            logits.append(np.log(weight) - (distance + size) / 2)
        weights = np.exp(np.array(logits) - np.max(logits))
        return Mixture(
            weights / weights.sum(),
            np.reshape(means, (-1, *self.image_shape)),
            np.array(covariances),
        )


def score_function_of_each(mixtures):
    """Returns the `ScoreFunction` of image + sigma * z, of many mixtures.

    Image i is of mixture i. The mixtures have the same covariances, as the
    posteriors of one prior have.
    """
    values, vectors = np.linalg.eigh(mixtures[0].covariances)
    values, vectors = np.float32(np.maximum(values, 0)), np.float32(vectors)

    def function(x, sigma, log_weights, means):
        log_weights, means, spectrum, axes = map(
            ops.convert_to_tensor, (log_weights, means, values, vectors)
        )
        flat = ops.reshape(x, (x.shape[0], 1, -1))
        variances = spectrum + ops.square(sigma)[:, None, None]
        inner = ops.einsum("bki,kij->bkj", flat - means, axes)
        distances = ops.square(inner) / variances + ops.log(variances)
        logits = log_weights - ops.sum(distances, -1) / 2
        shares = ops.exp(logits - ops.logsumexp(logits, -1, keepdims=True))
        scores = ops.einsum("bkj,kij->bki", inner / variances, axes)
        score = -ops.sum(shares[..., None] * scores, 1)
        return ops.reshape(score, x.shape)

    # A component without weight counts for nothing.
    weights = np.stack([mixture.weights for mixture in mixtures])
    means = np.stack([mixture.means for mixture in mixtures])
    return ScoreFunction(function).bind(
        np.log(np.maximum(weights, 1e-30)).astype("float32"),
        means.reshape(*weights.shape, -1).astype("float32"),
    )


def correlated(size, largest=1.0, smallest=0.1, seed=0):
    """Returns a covariance with axes of random directions.

    Along them the standard deviations fall from `largest` to `smallest` in
    equal ratios, so the values are correlated.
    """
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((size, size)))[0]
    return (axes * np.geomspace(largest, smallest, size) ** 2) @ axes.T


def matrix_of(operator, image_shape):
    """Returns the matrix of an operator, `(num_measurements, size)`."""
    size = int(np.prod(image_shape))
    basis = np.eye(size, dtype="float32").reshape(size, *image_shape)
    columns = ops.convert_to_numpy(operator(basis))
    return columns.reshape(size, -1).T.astype("float64")
