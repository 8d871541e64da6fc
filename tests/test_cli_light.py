"""Help and refusals do not wait for Keras, in processes of their own."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from keras_ncsn import cli
from keras_ncsn.presets.sources import zoo

CODE = """
import sys
from keras_ncsn import cli
sys.argv = ["keras-ncsn", *sys.argv[1:]]
try:
    cli.main()
finally:
    heavy = ("keras.src", "tensorflow", "jax", "torch", "h5py")
    print([name for name in heavy if name in sys.modules], file=sys.stderr)
"""
SWITCH = "TF_ENABLE_ONEDNN_OPTS"


def run(*arguments):
    command = [sys.executable, "-c", CODE, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        *((name, "--help") for name in cli.COMMANDS),
        ("presets",),
        ("presets", "show", "mnist"),
    ],
)
def test_commands_that_only_print_do_not_import_keras(arguments):
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert done.stderr.splitlines() == ["[]"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("generate", "nist"), "must be a name of the zoo"),
        (("generate", "mnist", "--num-steps", "1"), "`num_steps` must be"),
        (("generate", "mnist", "--step-size", "1"), "heun has the settings"),
        (("generate", "mnist", "--output", "a.xyz"), "a.xyz"),
        (("generate", "mnist", "--label", "7"), "trained with labels"),
        (("inpaint", "mnist", "IMAGE", "--mask", "half"), "must be one of"),
        (("inpaint", "mnist", "IMAGE", "--mask", "centre"), "28 pixels wide"),
        (
            (
                *("restore", "mnist", "IMAGE", "--noise", "0.1"),
                *("--operator", "super-resolution", "--factor", "2"),
            ),
            "14 pixels wide",
        ),
        (("guide", "mnist", "nist", "OUTPUT"), "must be a name of the zoo"),
        (("guide", "mnist", "mnist", "OUTPUT"), "same preset twice"),
        (("convert", "IMAGE", "FULL"), "new or empty folder"),
        (("push", "mnist", "no-owner"), "must be named owner/repo"),
        (("push", "nist", "owner/repo"), "must be a name of the zoo"),
        (("presets", "show", "nist"), "must be a name of the zoo"),
    ],
)
def test_refusals_do_not_import_keras(tmp_path, arguments, message):
    from PIL import Image

    Image.fromarray(np.zeros((4, 4), "uint8")).save(tmp_path / "a.png")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").touch()
    places = {
        "IMAGE": tmp_path / "a.png",
        "FULL": tmp_path / "full",
        "OUTPUT": tmp_path / "output",
    }
    done = run(*(places.get(argument, argument) for argument in arguments))
    assert done.returncode == 2
    refusal, heavy = done.stderr.splitlines()
    assert refusal.startswith("Error: ")
    assert message in refusal
    assert heavy == "[]"


def test_settings_come_from_the_preset_and_the_command(tmp_path):
    """A preset may say what it wants of its sampler, and be odd."""
    from keras_ncsn.cli.preset_facts import check_sampler

    folder = tmp_path / "preset"
    folder.mkdir()
    for name in ("config.json", "metadata.json"):
        text = (zoo()["mnist"] / name).read_text()
        (folder / name).write_text(text)
    check_sampler(folder, None, {"num_steps": 3})
    metadata = json.loads((folder / "metadata.json").read_text())
    del metadata["config_sha256"]
    (folder / "metadata.json").write_text(json.dumps(metadata))
    config = json.loads((folder / "config.json").read_text())
    for stored in ([1], {"heun": 3}, {"heun": {"num_steps": 5}}):
        config["config"]["sampler_settings"] = stored
        (folder / "config.json").write_text(json.dumps(config))
        check_sampler(folder, None, {"num_steps": 3})
    config["config"]["sampler_settings"] = {"heun": {"colour": "red"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="heun has the settings num_steps"):
        check_sampler(folder, None, {})


@pytest.mark.skipif(os.name != "posix", reason="there is no terminal")
def test_a_terminal_shows_only_lines_of_the_package(small, tmp_path):
    """What TensorFlow or CUDA log is not for who draws digits."""
    import pty

    main, second = pty.openpty()
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TF_")
    }
    digits = tmp_path / "digits.png"
    code = "from keras_ncsn import cli; cli.main()"
    command = [sys.executable, "-c", code, "generate", str(small)]
    command += ["--num-images", "2", "--sampler", "heun", "--num-steps", "2"]
    process = subprocess.Popen(
        [*command, "--output", str(digits)],
        stdout=second,
        stderr=second,
        env=environment,
    )
    os.close(second)
    shown = b""
    while True:
        try:
            part = os.read(main, 4096)
        except OSError:  # Linux says so at the end.
            break
        if not part:
            break
        shown += part
    assert process.wait(300) == 0, shown
    lines = shown.decode().replace("\r", "\n").splitlines()
    lines = [line.strip() for line in lines if line.strip()]
    assert lines[-1] == f"Wrote {digits}"
    others = [x for x in lines[:-1] if not x.startswith("Sampling: ")]
    assert others == []
    assert pathlib.Path(digits).stat().st_size > 100


@pytest.mark.parametrize(
    "module",
    ["noise"]
    + [
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            *("conversion", "presets.trust", "layers", "networks.unet"),
            *("training.step", "guidance", "callbacks.checkpoint"),
            *("runs.run", "conditions"),
        )
    ],
)
def test_each_module_can_be_the_first_to_import_keras(module):
    code = f"import keras_ncsn.{module}; import keras_ncsn.model"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(("of_user", "switch"), [(None, "1"), ("0", "0")])
def test_tensorflow_uses_onednn_unless_the_user_decides(of_user, switch):
    environment = {**os.environ, SWITCH: of_user}
    if of_user is None:
        del environment[SWITCH]
    # Before TensorFlow, which reads it once.
    code = CODE + f"    import os; print(os.environ[{SWITCH!r}])\n"
    done = subprocess.run(
        [sys.executable, "-c", code, "--version"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines()[-1] == switch, done.stderr
    assert done.stderr.splitlines() == ["[]"]
