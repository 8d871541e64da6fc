"""TensorFlow's log, kept off the screen of who draws digits."""

import contextlib
import importlib.abc
import importlib.util
import os
import sys

LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def keep_quiet():
    """Hides what TensorFlow logs, unless the user sets a level for it."""
    if LEVEL in os.environ:
        return
    os.environ[LEVEL] = "3"
    if "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _QuietImport())


class _QuietImport(importlib.abc.MetaPathFinder):
    """Imports TensorFlow, which heeds the level only once it is imported."""

    def find_spec(self, name, path=None, target=None):
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None:
            spec.loader = _QuietLoader(spec.loader)
        return spec


class _QuietLoader(importlib.abc.Loader):
    def __init__(self, loader):
        self.loader = loader

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        with _without_output():
            self.loader.exec_module(module)


@contextlib.contextmanager
def _without_output():
    # Of the whole process: it is C++ that writes.
    sys.stderr.flush()
    before = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nothing)
