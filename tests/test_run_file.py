"""What a run writes of itself into its `run.json`, and compares later."""

import json

import pytest

from keras_ncsn.runs import run_file


def test_a_run_resumes_from_its_preset():
    before = run_file.describe("mnist", from_preset="mnist", seed=3)
    assert run_file.describe("mnist", before=before) == before


def test_settings_missing_from_an_old_run_get_their_defaults(tmp_path):
    run = run_file.describe("mnist", "unet-mnist", {"churn": 0.0})
    old = run | {"recipe": dict(run["recipe"])}
    del old["recipe"]["churn"]
    run_file.write(tmp_path, old)
    resumed = run_file.describe("mnist", before=run_file.read(tmp_path))
    assert resumed["recipe"]["churn"] == 0.0
    run_file.check(tmp_path, resumed, resume=True)


def test_a_damaged_run_file_is_named(tmp_path):
    run = run_file.describe("mnist", "unet-mnist")
    for damaged in ("{", "[1]", '{"recipe": 1}'):
        (tmp_path / "run.json").write_text(damaged)
        with pytest.raises(ValueError, match="readable run.json"):
            run_file.check(tmp_path, run, resume=True)
    for wrong in "often", 0.5, 0, float("inf"), True:
        edited = run | {"writing": {"log_every": wrong}}
        (tmp_path / "run.json").write_text(json.dumps(edited))
        with pytest.raises(ValueError, match="readable run.json.*log_every"):
            run_file.check(tmp_path, run, resume=True)


def test_a_run_resumes_only_with_its_own_settings(tmp_path):
    run = run_file.describe("mnist", "unet-mnist", {"steps": 10})
    run_file.check(tmp_path, run)
    (tmp_path / "run.json").write_text(json.dumps(run))
    run_file.check(tmp_path, run, resume=True)
    moved = run_file.describe("elsewhere", "unet-mnist", {"steps": 10})
    run_file.check(tmp_path, moved, resume=True)
    with pytest.raises(ValueError, match="holds a run. Resume it with --re"):
        run_file.check(tmp_path, run)
    other = run_file.describe("mnist", "unet-mnist", {"steps": 9}, seed=1)
    with pytest.raises(ValueError, match="steps=9, seed=1; .*steps=10, seed"):
        run_file.check(tmp_path, other, resume=True)


def test_a_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "letters").write_text("dear")
    run = run_file.describe("mnist", "unet-mnist")
    with pytest.raises(ValueError, match="new or empty folder"):
        run_file.check(tmp_path, run, resume=True)


def test_settings_of_the_model_come_from_the_preset():
    with pytest.raises(ValueError, match="from_preset='mnist', and width"):
        run_file.describe("mnist", "unet-mnist", {"width": 8}, "mnist")
    with pytest.raises(ValueError, match="dropout for ncsn-mnist"):
        run_file.describe("mnist", "ncsn-mnist", {"dropout": 0.5})


def test_invalid_settings_are_refused_before_images_are_loaded():
    with pytest.raises(ValueError, match="preset='no-such'"):
        run_file.describe("mnist", "unet-mnist", from_preset="no-such")
    with pytest.raises(ValueError, match="sigma_min"):
        run_file.describe("mnist", "ncsn-mnist", {"sigma_max": 0.001})
    for wrong, words in (
        ({"width": 33}, "even.*widths=.33, 66, 66"),
        ({"width_multipliers": ()}, r"at least one.*widths=\[\]"),
        ({"image_size": 30}, "divisible by 4"),
        ({"patch_size": 2, "image_size": 36}, "divisible by 8"),
    ):
        with pytest.raises(ValueError, match=words):
            run_file.describe("pictures", "unet-cifar10", wrong)
    with pytest.raises(ValueError, match=r"even.*\(31, 31, 3\)"):
        run_file.describe("pictures", "ncsn-cifar10", {"image_size": 31})


@pytest.mark.parametrize("from_preset", [None, "ncsn_mnist"])
def test_settings_of_an_unused_distribution_are_refused(from_preset):
    recipe, settings = "ncsn-mnist", {"log_sigma_mean": 0.0}
    with pytest.raises(ValueError, match="log_sigma_mean must.*='ladder'"):
        run_file.describe("mnist", recipe, settings, from_preset)
    settings["sigma_distribution"] = "log_normal"
    run = run_file.describe("mnist", recipe, settings, from_preset)
    assert run["recipe"]["log_sigma_mean"] == 0.0
    # What a run began with before this was looked at goes on.
    del settings["sigma_distribution"]
    run_file.describe("mnist", recipe, settings, from_preset, before=run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.pop("width"), "a recipe without width"),
        (lambda values: values.update(wide=3), "wide, which no recipe has"),
        (lambda values: values.update(NETWORKS=3), "which no recipe has"),
        (lambda values: values.update({"\x1b[2J": 3}), "which no recipe has"),
    ],
)
@pytest.mark.parametrize("name", ["unet-mnist", "ncsn-mnist"])
def test_a_run_file_has_all_settings_and_no_others(
    tmp_path, name, change, message
):
    run = run_file.describe("mnist", name)
    change(run["recipe"])
    run_file.write(tmp_path, run)
    with pytest.raises(ValueError, match=f"readable run.json.*{message}"):
        run_file.read(tmp_path)


def test_settings_added_later_may_be_missing_from_a_run_file(tmp_path):
    # Neither is what the recipe has now.
    run = run_file.describe("mnist", "unet-mnist")
    for name in ("churn", "patch_size"):
        del run["recipe"][name]
    run_file.write(tmp_path, run)
    restored = run_file.read(tmp_path)["recipe"]
    assert (restored["churn"], restored["patch_size"]) == (0.0, 1)
    # What a run took from its preset, it did not always say.
    run = run_file.describe("mnist", "unet-mnist", from_preset="mnist")
    del run["recipe"]["dtype"]
    run_file.write(tmp_path, run)
    assert run_file.read(tmp_path)["recipe"]["dtype"] is None


@pytest.mark.parametrize(
    ("checkpoint_every", "most", "expected"),
    [(500, 50, 50), (5, 50, 5), (120, 50, 40), (53, 50, 1), (10, 4, 2)],
)
def test_rows_of_the_log_follow_the_checkpoints(
    checkpoint_every, most, expected
):
    assert run_file.log_interval(checkpoint_every, most) == expected


@pytest.mark.parametrize("wrong", [4, [0], [True], ["4"], [2**31], [1] * 101])
def test_earlier_steps_are_checked(tmp_path, wrong):
    run = run_file.describe("mnist", "unet-mnist")
    edited = json.dumps(run | {"earlier_steps": wrong})
    (tmp_path / "run.json").write_text(edited)
    with pytest.raises(ValueError, match="readable run.json.*earlier_steps"):
        run_file.read(tmp_path)
