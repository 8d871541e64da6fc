"""What happens beside training: checkpoints, presets, logs, pictures.

All count steps over the whole life of a run. Of several processes all count,
and the main one writes. Their order in `fit` does not matter.

The names are in `__init__.pyi`. Each is loaded on first use, so that the
command line knows the files of a run without waiting for Keras.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
