"""Presets on the Hub of the tests, each use in a process of its own."""

import gc
import multiprocessing
import multiprocessing.forkserver
import os
import pathlib
import shutil
import sys
import time
import traceback
import types
import warnings

import hub_server
import numpy as np
import pytest

import keras_ncsn
from keras_ncsn.images import save_grid
from keras_ncsn.presets import sources

HERE = "hf://owner/preset"


@pytest.fixture(scope="session")
def processes():
    """Processes that have Keras and the package, and not yet the client."""
    context = multiprocessing.get_context("forkserver")
    # What takes long to import is imported once, not in each process: Keras,
    # which the package's first model needs, and what the client is made of.
    # On any backend, `keras.utils.set_random_seed` imports TensorFlow.
    context.set_forkserver_preload(
        [
            *("tensorflow", "keras_ncsn.model", "hub_runs"),
            *("httpcore2", "httpx2", "h11", "yaml", "tqdm.auto"),
        ]
    )
    with pytest.MonkeyPatch.context() as patch:
        # Before Python 3.13 the server has a path of its own, on which it
        # does not find the modules of the tests.
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        multiprocessing.forkserver.ensure_running()
    return context


def answer(pipe, environment, patience, times, function, args):
    # The client reads the environment when it is imported.
    assert "huggingface_hub.constants" not in sys.modules
    os.environ.update(environment)
    from keras_ncsn.hub import errors

    errors.PATIENCE = patience
    pipe.send([attempt(environment, function, args) for _ in range(times)])


def attempt(environment, function, args):
    """Returns what a function returns or raises, and what it warns of."""
    started = time.monotonic()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            result, error = function(*args), None
        except Exception as exception:
            result, error = None, (type(exception).__name__, str(exception))
            check_secrecy(exception, environment)
    return {
        "result": result,
        "error": error,
        "warnings": [
            str(warning.message)
            for warning in warned
            if warning.category is UserWarning
        ],
        "seconds": time.monotonic() - started,
    }


def check_secrecy(exception, environment):
    text = "".join(traceback.format_exception(exception))
    tokens = hub_server.Hub.token, environment.get("HF_TOKEN") or None
    for token in filter(None, tokens):
        assert token not in text
        assert not holds(exception, token)


def holds(exception, token):
    """Whether what can be reached from an exception holds a token."""
    opaque = types.FrameType, types.TracebackType, types.ModuleType, type
    seen, left = set(), [exception]
    while left:
        value = left.pop()
        if id(value) in seen or isinstance(value, opaque):
            continue
        seen.add(id(value))
        if isinstance(value, (str, bytes)) and token in (
            value if isinstance(value, str) else value.decode("latin-1")
        ):
            return True
        if not callable(value):
            left += gc.get_referents(value)
    return False


@pytest.fixture
def server():
    with hub_server.serve() as server:
        yield server


@pytest.fixture
def run(processes, server, tmp_path):
    """Runs a function in a process of its own, with a cache of the test.

    `report` returns its error, too, and `reports` those of several calls.
    """

    def begin(function, *args, patience=5.0, times=1, **environment):
        receiver, sender = processes.Pipe(duplex=False)
        environment = {
            "HF_ENDPOINT": server.endpoint,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        } | environment
        process = processes.Process(
            target=answer,
            args=(sender, environment, patience, times, function, args),
        )
        process.start()
        # So that nobody waits for a process that has died.
        sender.close()
        return lambda: (receiver.recv(), process.join())[0]

    def start(*args, **kwargs):
        wait = begin(*args, **kwargs)
        return lambda: wait()[0]

    def reports(*args, **kwargs):
        return begin(*args, **kwargs)()

    def report(*args, **kwargs):
        return reports(*args, **kwargs)[0]

    def run(*args, **kwargs):
        finished = report(*args, **kwargs)
        assert finished["error"] is None
        return finished["result"]

    run.start, run.report, run.reports = start, report, reports
    return run


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    network = keras_ncsn.networks.UNet(
        (4, 4, 1), widths=(4,), num_blocks=1, attention_stages=()
    )
    settings = {"annealed_langevin": {"steps_per_level": 1}}
    model = keras_ncsn.NCSNModel(network, sampler_settings=settings, seed=0)
    folder = tmp_path_factory.mktemp("made") / "preset"
    model.save_to_preset(folder, {"data": "nothing", "steps": 3})
    save_grid(np.zeros((4, 4, 4, 1)), folder / "samples.png")
    return folder


@pytest.fixture
def folder(made_once, tmp_path):
    """A small preset."""
    return shutil.copytree(made_once, tmp_path / "preset")


@pytest.fixture
def published(server, folder):
    """The preset, in a repository."""
    repository = server.repositories["owner/preset"] = hub_server.Repository()
    repository.commit(read_files(folder), "main")
    return repository


def read_files(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def find(preset=HERE, **kwargs):
    """Returns the weights of a preset as they are stored, once verified."""
    return weights(sources.find(preset, **kwargs))


def find_without_pauses():
    """The client rests for seconds between its tries."""
    time.sleep = lambda seconds: None
    return find()


def weights(folder):
    paths = pathlib.Path(folder).glob("*.weights.h5")
    return {path.name: path.read_bytes() for path in paths}


def load(preset=HERE, **kwargs):
    """Builds the model too, as its user does."""
    model = keras_ncsn.NCSNModel.from_preset(preset, **kwargs)
    return loaded(model)


def loaded(model):
    return [weight.tobytes() for weight in model.network.get_weights()]


def command(*arguments):
    from click.testing import CliRunner

    from keras_ncsn import cli

    arguments = [str(argument) for argument in arguments]
    result = CliRunner().invoke(cli.cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def push(*arguments):
    return command("push", *arguments)
