"""Noise conditional score networks for Keras 3, with trained presets.

The names are in `__init__.pyi`. Each is loaded on first use, so that what
needs no Keras, such as `keras-ncsn --help`, does not wait for it.
"""

import sys

import lazy_loader
import wrapt

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def _is_loading(name):
    spec = getattr(sys.modules[name], "__spec__", None)
    return name.startswith("keras_ncsn.") and getattr(
        spec, "_initializing", False
    )


@wrapt.when_imported("keras")
def _register_classes(keras):
    # A module that is being imported, and whose own import of Keras this
    # follows, may be one that the others need. It registers its own classes.
    if any(_is_loading(name) for name in list(sys.modules)):
        return
    # Keras finds the classes of a `.keras` file by the names under which their
    # modules register them.
    from keras_ncsn import model  # noqa: F401
