"""Names that annotations share, because Keras has no types of its own."""

import os
from collections.abc import Callable
from typing import Any, TypeAlias

# A tensor of the backend that Keras runs on, or a NumPy array where Keras
# accepts one.
Tensor: TypeAlias = Any
# Of integers, and `None` where a size is not known yet, such as the batch.
Shape: TypeAlias = tuple[Any, ...]
StrPath: TypeAlias = str | os.PathLike[str]
# Noisy images and their noise levels in, the score out.
ScoreFn: TypeAlias = Callable[[Tensor, Tensor], Tensor]
