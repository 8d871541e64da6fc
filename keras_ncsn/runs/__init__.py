"""Training runs: a folder with a recipe, checkpoints, a log and pictures.

The names are in `__init__.pyi`. Each is loaded on first use, so that the
command line reads recipes and run files without waiting for Keras.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
