"""Loads the mnist preset through olah, a Hub that others wrote.

It makes a virtual environment for olah, and a Git repository with the weights
in Git LFS, in a folder that is removed afterwards:

    KERAS_BACKEND=torch python tests/olah_mirror.py
"""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv

from keras_ncsn.presets import format, sources

OLAH = "olah==0.5.4"
CONFIG = """
[basic]
host = "127.0.0.1"
port = {port}
repos-path = "./repos"
mirrors-path = ["./mirrors"]

[accessibility]
offline = true
"""
POINTER = """version https://git-lfs.github.com/spec/v1
oid sha256:{oid}
size {size}
"""
LOAD = """
import warnings
import numpy as np
import keras_ncsn

def load(preset):
    return keras_ncsn.NCSNModel.from_preset(preset).network.get_weights()

expected = load("mnist")
for _ in range(2):
    pulled = load("hf://someone/digits")
    assert all(map(np.array_equal, pulled, expected))
try:
    load("hf://someone/digits@missing")
    raise SystemExit("a missing revision was found")
except ValueError as error:
    print(error)
print("loaded through olah, and again:", len(pulled), "arrays")
"""


def make_repository(folder):
    """Commits the mnist preset, its weights apart as Git LFS keeps them."""
    folder.mkdir(parents=True)
    git = "git", "-c", "user.name=test", "-c", "user.email=test@localhost"
    subprocess.run([*git, "init", "-q", "-b", "main"], cwd=folder, check=True)
    for path in sources.zoo()["mnist"].iterdir():
        if path.name != format.WEIGHTS_FILE:
            shutil.copy(path, folder)
            continue
        oid = format.sha256(path)
        stored = folder / ".git" / "lfs" / "objects" / oid[:2] / oid[2:4] / oid
        stored.parent.mkdir(parents=True)
        shutil.copy(path, stored)
        pointer = POINTER.format(oid=oid, size=path.stat().st_size)
        (folder / path.name).write_text(pointer)
    subprocess.run([*git, "add", "."], cwd=folder, check=True)
    message = "commit", "-q", "-m", "The mnist preset"
    subprocess.run([*git, *message], cwd=folder, check=True)


@contextlib.contextmanager
def serving(folder):
    """Yields the address of olah, which serves the folder's `mirrors`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "cfg.toml").write_text(CONFIG.format(port=port))
    command = folder / "venv" / "bin" / "olah-cli"
    with open(folder / "olah.log", "w") as log:
        process = subprocess.Popen(
            [command, "-c", "cfg.toml"],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(address, process)
        yield address
    finally:
        process.terminate()
        process.wait()


def wait_for(address, process, seconds=60.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5.0)
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("olah does not answer")


def main():
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        venv.create(folder / "venv", with_pip=True)
        pip = folder / "venv" / "bin" / "pip"
        subprocess.run([pip, "install", "-q", OLAH], check=True)
        make_repository(folder / "mirrors" / "models" / "someone" / "digits")
        with serving(folder) as address:
            environment = {
                "HF_ENDPOINT": address,
                "HF_HOME": str(folder / "home"),
                "HF_HUB_DISABLE_TELEMETRY": "1",
            }
            done = subprocess.run(
                [sys.executable, "-c", LOAD], env=os.environ | environment
            )
        if done.returncode:
            sys.stderr.write((folder / "olah.log").read_text()[-4000:])
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
