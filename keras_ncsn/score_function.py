"""A score function, and the compiled functions that call it."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Self

import lazy_loader
import numpy as np

from keras_ncsn.annotations import ScoreFn, Tensor

keras = lazy_loader.load("keras")


class ScoreFunction:
    """A function of noisy images and noise levels that returns the score.

    Samplers work on image + sigma * z, whatever the scale of the schedule; the
    model converts. A sampler passes functions that use the score, such as a
    loop of steps, to `run`, which compiles each of them once per shape.

    Args:
        function: Function that returns the score. Its arguments are noisy
            images, a float32 tensor of shape `(batch, ...)`, their noise
            levels, of shape `(batch,)`, and what `bind` was given.
        variables: Sequence of the Keras variables that `function` reads.
            Defaults to `()`.

    Example:

    >>> standard_normal = ScoreFunction(lambda x, sigma: -x)
    >>> float(standard_normal.run(lambda score_fn, x: score_fn(x, None), 2.0))
    -2.0
    """

    def __init__(
        self, function: Callable[..., Tensor], variables: Sequence[Any] = ()
    ) -> None:
        self.function = function
        self.variables = variables
        # What `function` takes after the noise levels.
        self.bound: tuple[Tensor, ...] = ()
        self._compiled: dict[Any, Callable[..., Any]] = {}

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.function(x, sigma, *self.bound)

    def bind(self, *tensors: Tensor) -> Self:
        """Returns the score function with further arguments bound.

        Args:
            *tensors: Tensors or arrays that `function` takes after the noise
                levels, such as the condition of each image.

        Returns:
            A `ScoreFunction` of noisy images and noise levels alone. It shares
            its compiled functions with this one.

        Example:

        >>> around = ScoreFunction(lambda x, sigma, mean: mean - x)
        >>> float(around.bind(5.0).run(lambda fn, x: fn(x, None), 2.0))
        3.0
        """
        new = copy.copy(self)
        new.bound = (*self.bound, *tensors)
        return new

    @classmethod
    def of(cls, function: ScoreFn) -> Self:
        """Returns `function` as a `ScoreFunction`, which it may be already."""
        return function if isinstance(function, cls) else cls(function)

    def run(self, loop: Callable[..., Any], *tensors: Tensor) -> Any:
        """Calls `loop(score_fn, *tensors)`, compiled.

        Args:
            loop: Function that returns a tensor, or a tuple of them. Its
                arguments are a `ScoreFunction`, which equals this one, and
                `tensors`. It is compiled once if it is the same object in each
                call.
            *tensors: Tensors, arrays or numbers. The first is the batch of
                images. Several devices share it, as `parallel.data_parallel`
                says.

        Returns:
            What `loop` returns.
        """
        # A function that closed over the bound tensors would be compiled again
        # for each batch, so they are arguments too.
        from keras_ncsn import backend

        num_bound = len(self.bound)
        key = loop, num_bound
        if key not in self._compiled:

            def call(*tensors):
                score_fn = copy.copy(self)
                score_fn.bound = tensors[:num_bound]
                return loop(score_fn, *tensors[num_bound:])

            self._compiled[key] = backend.compile_inference(
                call, self.variables
            )
        x, *rest = tensors
        return self._compiled[key](*self.bound, backend.divide(x), *rest)


def fill_levels(x: Tensor, sigma: Tensor) -> Tensor:
    """Returns one noise level for each image of a batch.

    Args:
        x: Tensor of shape `(batch, ...)`.
        sigma: Scalar tensor, or one of shape `(batch,)`.

    Returns:
        A tensor of shape `(batch,)`.
    """
    return keras.ops.broadcast_to(sigma, (x.shape[0],))


def denoised(score_fn: ScoreFn, x: Tensor, sigma: Tensor) -> Tensor:
    """Returns x + sigma**2 * score: the mean of the clean images given x.

    Args:
        score_fn: As in `Sampler.sample`.
        x: Float32 tensor of shape `(batch, ...)`.
        sigma: Scalar tensor, or one of shape `(batch,)`, the noise levels.

    Returns:
        A tensor shaped like `x`.

    Example:

    >>> x, sigma = ops.array([[4.0]]), ops.array([2.0])
    >>> float(denoised(lambda x, sigma: -x / 8.0, x, sigma)[0, 0])
    2.0

    Reference:

    - [Efron, 2011](https://doi.org/10.1198/jasa.2011.tm11181), Tweedie's
      formula.
    """
    from keras_ncsn.noise import expand_like

    levels = fill_levels(x, sigma)
    variance = expand_like(keras.ops.square(levels), x)
    return x + variance * score_fn(x, levels)


def flow_slope(score_fn: ScoreFn, x: Tensor, sigma: Tensor) -> Tensor:
    """Returns dx/dsigma = -sigma * score, the slope of the probability flow.

    A step of length -sigma along it ends at the denoised image.

    Args:
        score_fn: As in `Sampler.sample`.
        x: Float32 tensor of shape `(batch, ...)`.
        sigma: Scalar tensor, the noise level of all images.

    Returns:
        A tensor shaped like `x`.
    """
    return -sigma * score_fn(x, fill_levels(x, sigma))


def flow_sigmas(
    sigma_max: float, sigma_min: float, num_steps: int
) -> np.ndarray:
    """Returns the noise levels between which steps along the flow go.

    Their seventh roots are evenly spaced, so most steps are at small noise.

    Args:
        sigma_max: Float, the first level.
        sigma_min: Float, the last level.
        num_steps: Integer, at least 2.

    Returns:
        A float64 array of shape `(num_steps,)`.

    Example:

    >>> [round(float(s), 3) for s in flow_sigmas(80.0, 0.002, num_steps=3)]
    [80.0, 2.515, 0.002]

    Reference:

    - [Karras et al., 2022](https://arxiv.org/abs/2206.00364), Equation 5.
    """
    first, last = np.array([sigma_max, sigma_min], "float64") ** (1.0 / 7.0)
    return np.linspace(first, last, num_steps) ** 7.0
