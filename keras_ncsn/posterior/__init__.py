"""Posterior sampling: images of which only measurements are known.

Each method makes one score function, that of images given measurements, of
another, that of all images. `model.solve` draws from it with any sampler.
"""

from typing import Any

from keras_ncsn.checks import check_choice
from keras_ncsn.posterior import operators as operators
from keras_ncsn.posterior.dps import DPS as DPS
from keras_ncsn.posterior.method import Method as Method
from keras_ncsn.posterior.mmps import MMPS as MMPS
from keras_ncsn.posterior.pigdm import PiGDM as PiGDM
from keras_ncsn.posterior.replacement import Replacement as Replacement
from keras_ncsn.posterior.score_ald import ScoreALD as ScoreALD

NAMES = {
    kind.name: kind
    for kind in sorted(Method.__subclasses__(), key=lambda kind: kind.name)
}
# The best calibrated where the posterior is known: see benchmarks/README.md.
DEFAULT = MMPS.name


def chosen_method(method: Any) -> Method:
    """Returns the method that an argument of `solve` stands for.

    Args:
        method: A `Method`; or a name, `"dps"`, `"mmps"`, `"pigdm"`,
            `"replacement"` or `"score_ald"`; or `None`, the default.

    Returns:
        A `Method`. Raises a `ValueError` for an unknown name.

    Example:

    >>> chosen_method("mmps")
    MMPS(num_iterations=3)
    """
    if isinstance(method, Method):
        return method
    name = DEFAULT if method is None else method
    check_choice("method", name, NAMES)
    return NAMES[name]()
