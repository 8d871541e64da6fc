"""The options of `keras-ncsn train`, which follow from the recipes."""

import json
import os
import subprocess
import sys

from click.testing import CliRunner

from keras_ncsn import cli
from keras_ncsn.cli import recipe_options
from keras_ncsn.runs import recipes, run_file
from keras_ncsn.runs.recipe import GROUPS

HELP = ["train", "--help"]
WRONG = {
    "--steps 0": "`steps` must be an integer from 1 to",
    "--dropout 1": "`dropout` must be a finite number of at least 0 and below",
    "--learning-rate nan": "`learning_rate` must be a finite number above 0",
    "--num-steps 1": "`num_steps` must be an integer from 2 to",
    "--attention-stages 5": "`attention_stages` must be stages of the U-Net",
    "--width 33": "The first of `widths` must be even",
    "--image-size 30": "divisible by 4",
    "--sigma-min 90": "0 < `sigma_min` < `sigma_max`",
    "--recipe no-such": "`recipe` must be one of unet-mnist",
    "--recipe ncsn-mnist --image-size 31": "even height and width",
    "--recipe ncsn-mnist --dropout 0.5": "dropout for ncsn-mnist",
    "--recipe ncsn-mnist --log-sigma-std 1": "from a log-normal distribution",
    "--condition-dropout 0.2": "Add --conditional",
    "--from-preset mnist --width 8": "must come from the preset",
    "--from-preset no-such": "`preset` must be a name of the zoo",
    "--checkpoint-every 7 --log-every 2": "`checkpoint_every` must be a mult",
    "--resume": "A run must have a readable run.json",
    "--seed 1": "A run must have a readable run.json",
}


def test_help_recipes_and_refusals_do_not_import_keras(tmp_path):
    for name in ("run", "damaged"):
        (tmp_path / name).mkdir()
    (tmp_path / "damaged" / "run.json").write_text("{")
    damaged = "--resume", "--seed 1"
    arguments = [HELP, ["train", "--show-recipe", "unet-mnist"]] + [
        ["train", "pictures", "damaged" if options in damaged else "run"]
        + options.split()
        for options in WRONG
    ]
    code = f"""
import sys
from keras_ncsn import cli
for arguments in {arguments!r}:
    sys.argv = ["keras-ncsn", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        status = end.code
    heavy = {{"keras.src", "tensorflow", "jax", "torch"}} & sys.modules.keys()
    assert not heavy, (arguments, heavy)
    print("status", status, file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "steps: 18000\n" in done.stdout
    *printed, rest = done.stderr.split("status ")
    assert rest == "2\n"
    for said, message in zip(printed[2:], WRONG.values(), strict=True):
        # After the status of the one before: one sentence, no traceback.
        status, sentence = said.split("\n", 1)
        assert status in "02"
        assert sentence.startswith("Error: ")
        assert message in sentence
        assert sentence.count("\n") == 1
    assert sorted(os.listdir(tmp_path / "run")) == []


def sections(text):
    """Returns the options of a help text by title."""
    found = {}
    for line in text.splitlines():
        if line.endswith(":") and not line.startswith(" "):
            names = found[line.removesuffix(":")] = []
        elif line.lstrip().startswith("--"):
            names.append(line.split()[0])
    return found


def test_help_has_groups_with_the_usual_options_first():
    shown = CliRunner().invoke(cli.cli, HELP)
    groups = sections(shown.output)
    assert list(groups) == ["Options", *GROUPS, "Files"]
    first = {title: names[0] for title, names in groups.items()}
    assert first == {
        "Options": "--recipe",
        "Data": "--image-size",
        "Network": "--width",
        "Noise": "--sigma-max",
        "Optimisation": "--steps",
        "Sampling": "--sampler",
        "Files": "--checkpoint-every",
    }
    assert groups["Data"][-2:] == ["--data-dir", "--skip-unreadable"]
    # The sampler's own words.
    assert "heun: Extra noise added" in shown.output
    assert "\n  DATA\n" not in shown.output


def test_options_replace_values_of_the_recipe(tmp_path, monkeypatch):
    class Described(Exception):
        pass

    def check(folder, run, resume):
        raise Described(run)

    monkeypatch.setattr(run_file, "check", check)
    options = "--width-multipliers 1,2,2 --no-random-flip --decay none "
    options += "--step-size 1e-6 --attention-stages= --dtype mixed_float16"
    done = CliRunner().invoke(
        cli.cli, ["train", "pictures", str(tmp_path), *options.split()]
    )
    (run,) = done.exception.args
    given = {
        "width_multipliers": [1, 2, 2],
        "attention_stages": [],
        "random_flip": False,
        "decay": "none",
        "step_size": 1e-6,
        "dtype": "mixed_float16",
    }
    usual = json.loads(json.dumps(recipes.find("unet-cifar10").values()))
    assert run["recipe"] == usual | given


def test_each_setting_except_the_network_is_an_option():
    known = [recipe.values() for recipe in recipes.RECIPES.values()]
    names = {name for recipe in known for name in recipe}
    assert names - {"network"} == recipe_options.OPTIONS.keys()
