"""Noise conditional score networks for Keras 3, with trained presets.

The names are in `__init__.pyi`. Each is loaded on first use, so that what
needs no Keras, such as `keras-ncsn --help`, does not wait for it.
"""

import lazy_loader
import wrapt

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


@wrapt.when_imported("keras")
def _register_classes(keras):
    # Keras finds the classes of a `.keras` file by the names under which their
    # modules register them.
    from keras_ncsn import guidance, layers, model  # noqa: F401
    from keras_ncsn.networks import mlp, refinenet, unet  # noqa: F401
