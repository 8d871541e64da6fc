"""What all methods of posterior sampling have in common."""

import abc
import dataclasses
from typing import TYPE_CHECKING, ClassVar

from keras_ncsn.posterior.linear_operator import LinearOperator

if TYPE_CHECKING:
    from keras_ncsn.score_function import ScoreFunction


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method(abc.ABC):
    """A way to make the score of images given measurements.

    The measurements are y = A(x) + noise, with the `LinearOperator` A and
    normal noise of standard deviation `noise_std`. By Bayes' rule the score of
    p(x_sigma | y) is the score of p(x_sigma), which is given, plus that of
    p(y | x_sigma), which each method estimates in its own way.

    A method is a frozen dataclass. Its fields are its settings, checked by the
    constructor. To add a method, write such a class in a new file, and import
    it in `posterior/__init__.py`.

    Attributes:
        name: String, the method's name in `solve` and on the command line.
        num_passes: Integer, how many passes through the network, forward or
            backward, one call of the posterior score takes.
    """

    name: ClassVar[str]

    @property
    @abc.abstractmethod
    def num_passes(self) -> int: ...

    @abc.abstractmethod
    def posterior(
        self, score_fn: "ScoreFunction", operator: LinearOperator
    ) -> "ScoreFunction":
        """Returns the score of images given measurements.

        Args:
            score_fn: A `ScoreFunction` of image + sigma * z.
            operator: A `LinearOperator`, of the images of `score_fn`.

        Returns:
            A `ScoreFunction`, to which `bind` binds `noise_std`, a float, and
            the measurements of each image, of shape `(batch, ...)`; and after
            them what `score_fn` takes, such as a condition. A `ValueError`
            refuses an operator that the method cannot use.
        """
