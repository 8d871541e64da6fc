"""A score function together with what is compiled around it."""

from keras import ops

from keras_ncsn import backend


class ScoreFunction:
    """A function of noisy images and noise levels that returns the score.

    Samplers work on x + sigma * z, whatever the schedule's scale: the model
    translates. They hand functions of the score, such as a loop of steps, to
    `run`, which compiles each of them once, and again for other shapes.

    Args:
        function: Function of a float32 tensor of shape `(batch, ...)` and one
            of shape `(batch,)`, the noise levels, that returns the score,
            shaped like the first.
        variables: Sequence of the Keras variables that it reads.

    Example:

    >>> standard_normal = ScoreFunction(lambda x, sigma: -x)
    >>> float(standard_normal.run(lambda score_fn, x: score_fn(x, None), 2.0))
    -2.0
    """

    def __init__(self, function, variables=()):
        self._function = function
        self._variables = variables
        self._compiled = {}

    def __call__(self, x, sigma):
        return self._function(x, sigma)

    @classmethod
    def of(cls, function):
        """Returns `function` itself where it already is a `ScoreFunction`."""
        return function if isinstance(function, cls) else cls(function)

    def run(self, loop, *tensors):
        """Calls `loop(score_fn, *tensors)`, compiled.

        Args:
            loop: Function of this score function and tensors that returns a
                tensor. Pass the same function object again to reuse its code.
            *tensors: Tensors, arrays or numbers.

        Returns:
            A tensor.
        """
        if loop not in self._compiled:

            def call(*tensors):
                return loop(self._function, *tensors)

            self._compiled[loop] = backend.compile_inference(
                call, self._variables
            )
        return self._compiled[loop](*tensors)


def fill_levels(x, sigma):
    """Returns one noise level for each image of a batch.

    Args:
        x: Tensor of shape `(batch, ...)`.
        sigma: Scalar tensor.

    Returns:
        A tensor of shape `(batch,)`.
    """
    return ops.broadcast_to(sigma, (x.shape[0],))
