"""Data whose scores are known at every noise level."""

import numpy as np
from keras import ops

MEAN, SPREAD = 0.5, 0.2


def gaussian_score(x, sigma):
    """Of independent coordinates around `MEAN`, with spread `SPREAD`."""
    return (MEAN - x) / (SPREAD**2 + ops.square(sigma)[:, None])


class Correlated:
    """Correlated data: a Gaussian whose axes are turned and differ in length.

    Args:
        size: Integer, the number of coordinates.
    """

    def __init__(self, size=16):
        rng = np.random.default_rng(3)
        self.axes = np.linalg.qr(rng.standard_normal((size, size)))[0]
        self.spreads = np.geomspace(0.5, 0.15, size)
        self.mean = rng.uniform(-0.3, 0.3, size)

    def score(self, x, sigma):
        along = ops.matmul(x - tensor(self.mean), tensor(self.axes))
        variance = tensor(self.spreads**2) + ops.square(sigma)[:, None]
        return -ops.matmul(along / variance, tensor(self.axes.T))

    def project(self, x):
        """Returns points along the axes, in units of the spreads."""
        return (x - self.mean) @ self.axes / self.spreads

    def flow(self, x, sigma, end):
        """Returns where the probability flow takes points from sigma."""
        ratio = (self.spreads**2 + end**2) / (self.spreads**2 + sigma**2)
        along = (x - self.mean) @ self.axes * np.sqrt(ratio)
        return self.mean + along @ self.axes.T

    def denoised(self, x, sigma):
        """Returns the mean of the clean points, given noisy ones."""
        ratio = self.spreads**2 / (self.spreads**2 + sigma**2)
        along = (x - self.mean) @ self.axes * ratio
        return self.mean + along @ self.axes.T


class Mixture:
    """A mixture: 3/4 around 0 and 1/4 around `centre`.

    Args:
        size: Integer, the number of coordinates.
        distance: Float, between the two centres.
        spread: Float, the spread of each.
    """

    def __init__(self, size=1, distance=1.0, spread=0.1):
        self.centre = np.full(size, distance / np.sqrt(size))
        self.spread = spread

    def score(self, x, sigma):
        centre = tensor(self.centre)
        variance = self.spread**2 + ops.square(sigma)[:, None]
        squares = ops.square(x) - ops.square(x - centre)
        logit = ops.sum(squares, axis=-1, keepdims=True) / (2 * variance)
        return (ops.sigmoid(logit - np.log(3.0)) * centre - x) / variance

    def around_centre(self, x):
        """Returns which points belong to the mode around `centre`."""
        return x @ self.centre > 0.5 * np.sum(self.centre**2)


def tensor(values):
    return ops.convert_to_tensor(np.asarray(values, "float32"))
