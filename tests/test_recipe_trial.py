import json

import pytest
from benchmark_files import load_benchmark
from click.testing import CliRunner

# The script imports it as a neighbour.
load_benchmark("sample_quality")
recipe_trial = load_benchmark("recipe_trial")


def test_settings_are_python_values_or_strings():
    texts = ["width=32", "conditional=True", "widths=(1, 2)", "decay=cosine"]
    assert recipe_trial.parse(None, None, texts) == {
        "width": 32,
        "conditional": True,
        "widths": (1, 2),
        "decay": "cosine",
    }


def test_levels_of_the_loss_are_the_middles_of_equal_parts():
    sigmas = recipe_trial.SIGMAS
    assert len(sigmas) == 16
    assert sigmas[7] * sigmas[8] == pytest.approx(2.718281828 ** (2 * -1.2))


def test_table_has_the_mean_and_half_the_range(tmp_path):
    figures = [
        {"distance": 2.0, "confidence": 0.9, "right": 0.5},
        {"distance": 3.0, "confidence": 0.7, "right": 0.6},
    ]
    unlabelled = [figure | {"right": None} for figure in figures]
    trial = {
        "steps": 1200,
        "loss": 7.125,
        "samples": {"1": unlabelled, "2": figures},
    }
    folder = tmp_path / "wide"
    folder.mkdir()
    (folder / "trial.json").write_text(json.dumps(trial))
    result = CliRunner().invoke(recipe_trial.main, ["table", str(folder)])
    assert result.output.splitlines()[2:] == [
        "| wide | 1,200 | 7.12 | 2.50 ± 0.50 | 0.800 ± 0.100 |  |",
        "| wide, guidance 2 | 1,200 | 7.12 | 2.50 ± 0.50 | 0.800 ± 0.100 "
        "| 0.550 ± 0.050 |",
    ]
