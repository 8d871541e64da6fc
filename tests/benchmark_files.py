"""The benchmarks, which are no package, as modules."""

import importlib.util
import pathlib
import sys

FOLDER = pathlib.Path(__file__).parent.parent / "benchmarks"


def load_benchmark(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    # For those that import it as a neighbour.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
