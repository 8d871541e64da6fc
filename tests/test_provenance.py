"""What presets say of the run that made them."""

import pytest

from keras_ncsn.runs import provenance, recipes, run_file


def test_only_the_last_part_of_a_path_is_published(tmp_path, monkeypatch):
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


def test_a_missing_preset_is_named_by_its_last_part(tmp_path):
    run = run_file.describe("mnist", "unet-mnist", from_preset="mnist")
    assert "--from-preset mnist --seed" in provenance.command(run)
    for gone in "../private/gone", str(tmp_path / "gone"):
        command = provenance.command(run | {"from_preset": gone})
        assert "--from-preset gone --seed" in command
    hub = provenance.command(run | {"from_preset": "hf://owner/repo"})
    assert "--from-preset hf://owner/repo --seed" in hub


@pytest.mark.parametrize("data", ["celeb_a", "celeb_a/2.1.0"])
def test_terms_do_not_depend_on_the_version_of_the_set(data):
    metadata = provenance.metadata(run_file.describe(data, "unet-celeba"))
    assert metadata["license_name"] == "celeba-non-commercial-research-only"


def test_the_command_holds_settings_that_override_the_preset():
    usual = recipes.find("unet-mnist").sigma_distribution
    settings = {"sigma_distribution": usual, "batch_size": 128}
    run = run_file.describe("mnist", "unet-mnist", settings, "mnist")
    assert provenance.command(run).endswith(
        f"--from-preset mnist --seed 0 --sigma-distribution {usual}"
    )
