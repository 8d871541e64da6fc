"""What Keras lacks, for each of the three backends.

Only these modules import a backend to compute with, and they import only the
one that Keras runs on.
"""

from keras_ncsn.backend.compiling import compile_inference
from keras_ncsn.backend.devices import (
    distribute,
    divide,
    draw_for_batch,
    full_batch,
    num_shares,
    on_this_process,
    processes,
)
from keras_ncsn.backend.gradients import (
    output_and_input_gradient,
    output_and_pull_back,
    value_and_gradients,
)
from keras_ncsn.backend.normalization import normalize_groups
from keras_ncsn.backend.running import BACKEND, keeping_values, run_stateless
from keras_ncsn.backend.updates import (
    all_finite,
    apply_gradients,
    keep_if,
    update_if,
)

__all__ = [
    "BACKEND",
    "all_finite",
    "apply_gradients",
    "compile_inference",
    "distribute",
    "divide",
    "draw_for_batch",
    "full_batch",
    "keep_if",
    "keeping_values",
    "normalize_groups",
    "num_shares",
    "on_this_process",
    "output_and_input_gradient",
    "output_and_pull_back",
    "processes",
    "run_stateless",
    "update_if",
    "value_and_gradients",
]
