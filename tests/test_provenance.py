"""What presets say of the run that made them."""

import pytest

from keras_ncsn.runs import provenance, recipes, run_file


def test_of_paths_the_last_part_gets_published(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").mkdir()
    (tmp_path / "mnist").symlink_to("secret")
    (tmp_path / "pictures").symlink_to("secret")
    for data, published in {
        "mnist": "mnist",
        "pictures": "pictures",
        str(tmp_path / "pictures"): "pictures",
        "/home/me/gone": "gone",
        "voc/2007": "voc/2007",
    }.items():
        run = run_file.describe(data, "unet-mnist", from_preset="mnist")
        metadata = provenance.metadata(run)
        assert metadata["data"] == published
        assert f"train {published} OUTPUT" in metadata["command"]
        assert "--from-preset mnist " in metadata["command"]


def test_a_preset_that_is_gone_is_named_by_its_last_part(tmp_path):
    run = run_file.describe("mnist", "unet-mnist", from_preset="mnist")
    assert "--from-preset mnist --seed" in provenance.command(run)
    for gone in "../private/gone", str(tmp_path / "gone"):
        command = provenance.command(run | {"from_preset": gone})
        assert "--from-preset gone --seed" in command
    hub = provenance.command(run | {"from_preset": "hf://owner/repo"})
    assert "--from-preset hf://owner/repo --seed" in hub


@pytest.mark.parametrize("data", ["celeb_a", "celeb_a/2.1.0"])
def test_terms_are_those_of_the_set_whatever_its_version(data):
    metadata = provenance.metadata(run_file.describe(data, "unet-celeba"))
    assert metadata["license_name"] == "celeba-non-commercial-research-only"


def test_the_command_says_what_the_preset_would_else_decide():
    usual = recipes.find("unet-mnist").sigma_distribution
    settings = {"sigma_distribution": usual, "batch_size": 128}
    run = run_file.describe("mnist", "unet-mnist", settings, "mnist")
    assert provenance.command(run).endswith(
        f"--from-preset mnist --seed 0 --sigma-distribution {usual}"
    )
