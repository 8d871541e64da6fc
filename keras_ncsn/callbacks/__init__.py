"""Callbacks that write checkpoints, logs and pictures during training.

All of them count the steps of the whole run, including those before it was
resumed. If there are several processes, only the main one writes. The order of
the callbacks in `fit` does not matter.

The names are in `__init__.pyi`. Each is loaded on first use, so that the
command line knows the files of a run without waiting for Keras.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
