"""Keeps TensorFlow's log messages off the screen."""

import contextlib
import importlib.abc
import importlib.util
import os
import sys

LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def keep_quiet() -> None:
    """Hides TensorFlow's log, unless the user sets its level."""
    if LEVEL in os.environ:
        return
    os.environ[LEVEL] = "3"
    if "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _QuietImport())


class _QuietImport(importlib.abc.MetaPathFinder):
    """Finds TensorFlow, to import it with stderr closed.

    TensorFlow logs some messages before it reads the level.
    """

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
    # C++ code writes to the file descriptor, not to `sys.stderr`.
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
