import contextlib
import gc
import importlib.util
import signal

import lazy_loader
import numpy as np
import pytest
from hub_runs import (  # noqa: F401
    folder,
    made_once,
    processes,
    published,
    run,
    server,
)
from small_networks import two_convolutions
from training_runs import (  # noqa: F401
    pictures,
    resume,
    small,
    train,
    trained,
)

import keras_ncsn

# The process that hands out the tests takes no time to import it.
keras = lazy_loader.load("keras")

# The extra `test` has no PyTorch, which is large.
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None,
    reason="needs PyTorch: pip install torch",
)


def pytest_collection_finish():
    """Spares Python to look for garbage among what the imports made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def pytest_collection_modifyitems(items):
    """Gives the examples in docstrings names that they do not import."""
    names = {"keras": keras, "keras_ncsn": keras_ncsn, "np": np}
    for item in items:
        if isinstance(item, pytest.DoctestItem):
            item.dtest.globs.update(names, ops=keras.ops)


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


class Hung(BaseException):
    """No exception that a reader would catch."""


@pytest.fixture
def alarm():
    """Ends a test that hangs."""

    def give_up(number, frame):
        raise Hung

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(240)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def images():
    """Sixteen small images with some structure."""
    rng = np.random.default_rng(0)
    rows = np.linspace(0.0, 1.0, 8, dtype="float32")[:, None, None]
    brightness = rng.random((16, 1, 1, 1), "float32")
    return np.broadcast_to(rows * brightness, (16, 8, 8, 1)).copy()


@pytest.fixture
def make_model():
    """Makes a model of two convolutions, which compile in no time."""

    def make(network=None, **kwargs):
        network = network or two_convolutions()
        return keras_ncsn.NCSNModel(network, **({"seed": 0} | kwargs))

    return make


@pytest.fixture
def make_zero():
    """Makes a model whose score is zero everywhere."""

    def make(image_shape, **kwargs):
        noisy = keras.Input(image_shape)
        sigma = keras.Input(())
        zero = keras.layers.Rescaling(0.0)(noisy)
        network = keras.Model([noisy, sigma], zero)
        return keras_ncsn.NCSNModel(network, **kwargs)

    return make


@pytest.fixture
def eagerly():
    """A context in which compiled functions run as plain Python."""

    backend = keras.backend.backend()

    @contextlib.contextmanager
    def context():
        if backend == "tensorflow":
            import tensorflow as tf

            tf.config.run_functions_eagerly(True)
            try:
                yield
            finally:
                tf.config.run_functions_eagerly(False)
        elif backend == "jax":
            import jax

            with jax.disable_jit():
                yield
        else:
            yield

    return context


@pytest.fixture
def untraced(eagerly):
    """A context for what runs a few times: tracing it takes far longer.

    So it is on TensorFlow. JAX would compile each operation.
    """
    traces = keras.backend.backend() == "tensorflow"
    return eagerly if traces else contextlib.nullcontext


@contextlib.contextmanager
def files_may_grow_to(num_bytes):
    """A file that may not grow any more fails as on a full disk."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
