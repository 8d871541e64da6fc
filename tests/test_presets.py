import importlib.metadata
import json
import pathlib
import shutil

import h5py
import keras
import numpy as np
import pytest
from contract import randomize
from preset_files import restate

import keras_ncsn
from keras_ncsn.hub import cache
from keras_ncsn.noise import NoiseSchedule
from keras_ncsn.presets import format, recovery, saving, sources


@pytest.fixture(scope="module")
def made():
    """A model, and the weights that it began with."""
    model = make_model()
    return model, model.get_weights()


@pytest.fixture
def model(made):
    model, weights = made
    model.set_weights(weights)
    return model


def make_model():
    # Before any test is `seeded`.
    keras.utils.set_random_seed(0)
    network = keras_ncsn.networks.UNet(
        (4, 4, 1),
        widths=(4,),
        num_blocks=1,
        attention_stages=(),
        data_mean=0.2,
        data_std=0.3,
    )
    model = keras_ncsn.NCSNModel(
        network,
        NoiseSchedule.geometric(20.0, 0.01, 30),
        sampler="heun",
        sampler_settings={"heun": {"num_steps": 3}},
        ema_momentum=0.9,
        seed=0,
    )
    randomize(model.network, seed=1)
    randomize(model.ema_network, seed=2)
    return model


@pytest.fixture(scope="module")
def saved(made, tmp_path_factory):
    model, weights = made
    model.set_weights(weights)
    folder = tmp_path_factory.mktemp("saved") / "preset"
    model.save_to_preset(folder, {"data": "nothing"}, card="# A card\n")
    return folder


@pytest.fixture(scope="module")
def sharded(made, tmp_path_factory):
    model, weights = made
    model.set_weights(weights)
    folder = tmp_path_factory.mktemp("sharded") / "preset"
    model.save_to_preset(folder, max_shard_size=4e-6)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "preset")


def averaged(model):
    return [np.array(weight) for weight in model.sampling_network.get_weights()]


def test_preset_holds_the_averaged_weights_and_the_settings(model, folder):
    copy = keras_ncsn.NCSNModel.from_preset(folder)
    assert all(map(np.array_equal, averaged(model), copy.network.get_weights()))
    assert copy.ema_network is None
    assert copy.sampler_settings == {"heun": {"num_steps": 3}}
    assert copy.schedule.sigmas.tolist() == model.schedule.sigmas.tolist()
    np.testing.assert_allclose(
        copy.generate(2, seed=1), model.generate(2, seed=1), atol=1e-6
    )
    metadata = format.read_metadata(folder)
    assert metadata["data"] == "nothing"
    assert metadata["parameter_count"] == model.network.count_params()
    assert format.image_shape(folder) == (4, 4, 1)
    assert (folder / "README.md").read_text() == "# A card\n"


def test_a_full_disk_leaves_what_was_there(model, folder):
    resource = pytest.importorskip("resource")
    before = (folder / "model.weights.h5").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A file that may not grow any more fails as a full disk does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) - 1, hard))
    try:
        with pytest.raises(
            OSError, match=r"could not be wr[^()]* bytes: [^()]*\."
        ):
            model.save_to_preset(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (folder / "model.weights.h5").read_bytes() == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_plain_keras_reads_a_preset(model, folder):
    config = json.loads((folder / "config.json").read_text())
    copy = keras.saving.deserialize_keras_object(config)
    copy.load_weights(folder / "model.weights.h5")
    assert all(map(np.array_equal, averaged(model), copy.network.get_weights()))


def test_arguments_override_the_config(folder):
    model = keras_ncsn.NCSNModel.from_preset(
        folder, ema_momentum=0.5, sampler="annealed_langevin"
    )
    assert model.sampler == "annealed_langevin"
    raw = model.network.get_weights()
    assert all(map(np.array_equal, raw, model.ema_network.get_weights()))


def test_another_schedule_overrides_the_config(folder):
    schedule = NoiseSchedule.geometric(2.0, 0.1, 5)
    model = keras_ncsn.NCSNModel.from_preset(folder, schedule=schedule)
    assert model.schedule is schedule


def test_dtype_overrides_the_policy(folder):
    model = keras_ncsn.NCSNModel.from_preset(folder, dtype="mixed_bfloat16")
    layer = model.network.get_layer("first_convolution")
    assert layer.compute_dtype == "bfloat16"
    config = json.loads((folder / "config.json").read_text())
    assert "dtype" not in config["config"]["network"]["config"]


def test_weights_that_are_not_loaded_are_random(model, folder):
    (folder / "model.weights.h5").unlink()
    copy = keras_ncsn.NCSNModel.from_preset(folder, load_weights=False)
    assert not all(
        map(np.array_equal, averaged(model), copy.network.get_weights())
    )


def test_saving_again_replaces_and_keeps_the_card(model, folder):
    (folder / "grid.png").write_bytes(b"a picture")
    (folder / "step2.weights.h5").write_bytes(b"other weights")
    shutil.copytree(folder, folder / "old")
    before = (folder / format.WEIGHTS_FILE).read_bytes()
    model.ema_network.set_weights(
        [weight + 1 for weight in model.ema_network.get_weights()]
    )
    model.save_to_preset(folder)
    copy = keras_ncsn.NCSNModel.from_preset(folder)
    assert all(map(np.array_equal, averaged(model), copy.network.get_weights()))
    assert (folder / "README.md").read_text() == "# A card\n"
    assert (folder / "step2.weights.h5").read_bytes() == b"other weights"
    assert (folder / "old" / format.WEIGHTS_FILE).read_bytes() == before
    assert format.checksums(folder).keys() == {format.WEIGHTS_FILE}
    assert [path.name for path in folder.parent.iterdir()] == ["preset"]


def test_saving_through_a_link_replaces_its_target(model, folder):
    link = folder.parent / "link"
    link.symlink_to(folder)
    randomize(model.ema_network, seed=3)
    model.save_to_preset(link)
    assert link.is_symlink()
    copy = keras_ncsn.NCSNModel.from_preset(folder)
    assert all(map(np.array_equal, averaged(model), copy.network.get_weights()))
    names = sorted(path.name for path in folder.parent.iterdir())
    assert names == ["link", "preset"]


def test_a_checkout_can_save_without_installation(model, tmp_path, monkeypatch):
    def fail(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", fail)
    model.save_to_preset(tmp_path / "preset")
    metadata = format.read_metadata(tmp_path / "preset")
    assert metadata["keras_ncsn_version"] is None


@pytest.mark.parametrize(
    ("module", "crash_in"), [(saving, "_write_json"), (recovery, "replace")]
)
def test_a_crash_leaves_the_old_preset(
    model, folder, monkeypatch, module, crash_in
):
    before = keras_ncsn.NCSNModel.from_preset(folder).network.get_weights()

    def crash(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr(module, crash_in, crash)
    randomize(model.ema_network, seed=3)
    with pytest.raises(OSError, match="no space left"):
        model.save_to_preset(folder)
    after = keras_ncsn.NCSNModel.from_preset(folder).network.get_weights()
    assert all(map(np.array_equal, before, after))
    with pytest.raises(OSError, match="no space left"):
        model.save_to_preset(folder.parent / "new")
    assert [path.name for path in folder.parent.iterdir()] == ["preset"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_weights_may_be_stored_in_16_bits(model, tmp_path, dtype, policy):
    model.save_to_preset(tmp_path / "whole")
    model.save_to_preset(tmp_path / "half", weights_dtype=dtype)
    whole, half = (
        (tmp_path / name / format.WEIGHTS_FILE).read_bytes()
        for name in ("whole", "half")
    )
    count = model.network.count_params()
    assert len(whole) - len(half) == pytest.approx(2 * count, rel=0.3)
    copy = keras_ncsn.NCSNModel.from_preset(tmp_path / "half", dtype=policy)
    step = 2.0**-8 if dtype == "bfloat16" else 2.0**-11
    for exact, rounded in zip(
        averaged(model), copy.network.get_weights(), strict=True
    ):
        assert rounded.dtype == "float32"
        np.testing.assert_allclose(rounded, exact, rtol=step, atol=1e-7)
        if exact.size > 10:
            assert not np.array_equal(rounded, exact)


def stored_dtypes(folder):
    """Of the floats, by Keras' mark for what HDF5 does not know."""
    dtypes = set()

    def note(name, item):
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "fV":
            dtypes.add(item.attrs.get("dtype", str(item.dtype)))

    with h5py.File(folder / format.WEIGHTS_FILE) as file:
        file.visititems(note)
    return dtypes


@pytest.mark.parametrize("stored", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_of_16_bits_can_be_stored_in_each_dtype(
    tmp_path, dtype, stored
):
    network = keras_ncsn.networks.MLP(2, width=4, dtype=dtype)
    model = keras_ncsn.NCSNModel(network, value_range=None)
    randomize(network, seed=0)
    model.save_to_preset(tmp_path / "preset", weights_dtype=stored)
    assert stored_dtypes(tmp_path / "preset") == {stored}
    copy = keras_ncsn.NCSNModel.from_preset(tmp_path / "preset")
    for exact, received in zip(
        network.get_weights(), copy.network.get_weights(), strict=True
    ):
        exact = exact.astype("float32")
        np.testing.assert_allclose(received, exact, rtol=2.0**-8, atol=1e-7)


def test_weights_too_large_for_float16_are_refused(model, folder):
    before = (folder / format.WEIGHTS_FILE).read_bytes()
    weights = model.ema_network.get_weights()
    weights[0].flat[0] = -65505.0
    model.ema_network.set_weights(weights)
    with pytest.raises(
        ValueError, match="within 65504.*float16.*Received.*first_convolution"
    ):
        model.save_to_preset(folder, weights_dtype="float16")
    assert (folder / format.WEIGHTS_FILE).read_bytes() == before
    model.save_to_preset(folder, weights_dtype="bfloat16")


@pytest.mark.parametrize(
    "metadata",
    [
        *({"data": {1}}, {"a": 1, 2: 3}, {2: 3}, {"a": [{2: 3}]}, ["mnist"]),
        *("mnist", {"x": np.float32(1)}, {"x": [np.nan]}, {"x": np.inf}),
    ],
)
def test_metadata_are_json_before_any_work(model, tmp_path, metadata):
    with pytest.raises(ValueError, match="`metadata` must be a dict.*JSON"):
        model.save_to_preset(tmp_path / "new" / "preset", metadata)
    with pytest.raises(ValueError, match="`metadata` must be a dict.*JSON"):
        model.push_to_hub("owner/repo", metadata=metadata)
    assert list(tmp_path.iterdir()) == []


def test_a_model_from_a_preset_keeps_its_terms(model, folder, tmp_path):
    terms = {
        "license": "other",
        "license_name": "research-only",
        "license_link": "https://example.org/terms",
    }
    model.save_to_preset(folder, terms)
    again = keras_ncsn.NCSNModel.from_preset(folder, guide=None)
    again.save_to_preset(tmp_path / "again", terms | {"steps": 3})
    metadata = format.read_metadata(tmp_path / "again")
    assert metadata["steps"] == 3
    assert {name: metadata[name] for name in terms} == terms
    again.save_to_preset(tmp_path / "silent")
    metadata = format.read_metadata(tmp_path / "silent")
    assert {name: metadata[name] for name in terms} == terms
    for call in (
        lambda other: again.save_to_preset(tmp_path / "free", other),
        lambda other: again.push_to_hub("owner/preset", metadata=other),
    ):
        with pytest.raises(ValueError, match="must keep.*Received.*apache-2.0"):
            call({"license": "apache-2.0"})
    assert not (tmp_path / "free").exists()
    # Other weights have other terms.
    bare = keras_ncsn.NCSNModel.from_preset(folder, load_weights=False)
    bare.save_to_preset(tmp_path / "bare", {"license": "apache-2.0"})


def test_large_weights_go_into_several_files(model, tmp_path):
    folder = tmp_path / "preset"
    model.save_to_preset(folder, max_shard_size=4e-6)
    names = {path.name for path in folder.glob("*.weights.*")}
    assert len(names) > 2
    assert names == format.checksums(folder).keys()
    copy = keras_ncsn.NCSNModel.from_preset(folder)
    assert all(map(np.array_equal, averaged(model), copy.network.get_weights()))
    # Saved again in one, the others go.
    model.save_to_preset(folder)
    assert [path.name for path in folder.glob("*.weights.*")] == [
        format.WEIGHTS_FILE
    ]
    model.save_to_preset(folder, max_shard_size=4e-6)
    index = json.loads((folder / format.INDEX_FILE).read_text())
    index["weight_map"]["/vars"] = "../../elsewhere.weights.h5"
    (folder / format.INDEX_FILE).write_text(json.dumps(index))
    metadata = format.read_metadata(folder)
    digest = format.sha256(folder / format.INDEX_FILE)
    metadata["sha256"][format.INDEX_FILE] = digest
    (folder / format.METADATA_FILE).write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="must name files that"):
        keras_ncsn.NCSNModel.from_preset(folder)


def test_a_newer_format_asks_for_an_upgrade(folder, monkeypatch):
    # It is whole, and would only come again.
    monkeypatch.setattr(cache, "distrust", pytest.fail)
    metadata = format.read_metadata(folder)
    metadata["format_version"] = 2
    (folder / format.METADATA_FILE).write_text(json.dumps(metadata))
    # Whatever else it may be that this version does not know.
    (folder / "config.json").write_text('{"class_name": "Newer"}')
    for load_weights in (True, False):
        with pytest.raises(ValueError, match="format 2.*pip install --upgrade"):
            keras_ncsn.NCSNModel.from_preset(folder, load_weights)


@pytest.mark.parametrize("version", [True, 0, -1, "1", None, 1.0])
def test_invalid_format_versions_are_refused(folder, version):
    metadata = format.read_metadata(folder) | {"format_version": version}
    (folder / format.METADATA_FILE).write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match=f"Received: format {version!r} in"):
        format.read_metadata(folder)


def test_presets_of_format_1_load():
    """Kept as it was written when the format was new."""
    folder = pathlib.Path(__file__).parent / "data" / "preset_format_1"
    model = keras_ncsn.NCSNModel.from_preset(folder)
    with np.load(folder / "score.npz") as stored:
        score = model.score(stored["noisy"], stored["sigma"])
        np.testing.assert_allclose(score, stored["score"], atol=1e-5)


def test_saving_refuses_a_folder_without_a_preset(model, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="new or empty folder.*Received"):
        model.save_to_preset(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_changed_config_is_refused(folder):
    assert "config_sha256" in format.read_metadata(folder)
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"heun"', '"Heun"'))
    with pytest.raises(
        ValueError, match="`config.json` must.*stated.*or remove `config_sha"
    ):
        keras_ncsn.NCSNModel.from_preset(folder, load_weights=False)
    restate(folder)
    with pytest.raises(ValueError, match="arguments that"):
        keras_ncsn.NCSNModel.from_preset(folder)


def truncate(folder):
    path = folder / "model.weights.h5"
    path.write_bytes(path.read_bytes()[:1000])


def remove_weights(folder):
    (folder / "model.weights.h5").unlink()


def widen(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["config"]["network"]["config"]["widths"] = [8]
    path.write_text(json.dumps(config))


def misspell(folder):
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"num_blocks"', '"num_bricks"'))


def rename_the_levels(folder):
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"sigmas"', '"levels"'))


def order_a_terminal(folder):
    change_network(folder, class_name="\x1b[2J")


def number_the_format_by_an_escape(folder):
    path = folder / "metadata.json"
    metadata = json.loads(path.read_text()) | {"format_version": "\x1b[\n"}
    path.write_text(json.dumps(metadata))


def state_a_checksum_by_an_escape(folder):
    path = folder / "metadata.json"
    metadata = json.loads(path.read_text()) | {"config_sha256": "\x1b[\n"}
    path.write_text(json.dumps(metadata))


def misname_by_an_escape(folder):
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"num_blocks"', r'"\u001b[2J"'))


def swap_config(folder):
    (folder / "config.json").write_text('{"model_type": "bert"}')


def change_network(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["config"]["network"] |= changes
    path.write_text(json.dumps(config))


def lose_the_network(folder):
    change_network(folder, config=None)


def name_the_network_by_a_number(folder):
    change_network(folder, class_name=3)


def list_the_network(folder):
    change_network(folder, config=["image_shape"])


def hollow_the_network(folder):
    hollow = {"name": "n", "layers": [], "input_layers": [[]]}
    change_network(
        folder,
        module="keras",
        class_name="Functional",
        registered_name=None,
        config=hollow,
    )


def mistake_the_shape(folder):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["config"]["network"]["config"]["image_shape"] = 4
    path.write_text(json.dumps(config))


def break_config(folder):
    (folder / "config.json").write_text("{")


def remove_metadata(folder):
    (folder / "metadata.json").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "must have the SHA-256.*stated.*again"),
        (remove_weights, "must have its weights.*has none"),
        (widen, r"fit .*first_convolution/kernel of shape \(3, 3, 1, 8\)"),
        (misspell, "hold arguments that .* take.*preset; .*num_bricks"),
        (rename_the_levels, "hold arguments that .* take.*preset; .*levels"),
        (order_a_terminal, "must consist of classes"),
        (number_the_format_by_an_escape, "Received: format "),
        (state_a_checksum_by_an_escape, "must have the SHA-256.*stated"),
        (misname_by_an_escape, "hold arguments that"),
        (swap_config, "config of an `NCSNModel`.*something else"),
        (lose_the_network, "config of an `NCSNModel`.*something else"),
        (list_the_network, "config of an `NCSNModel`.*something else"),
        (name_the_network_by_a_number, "config of an `NCSNModel`"),
        (hollow_the_network, "hold arguments that .* take"),
        (mistake_the_shape, "hold arguments that .* take"),
        (break_config, "readable `config.json`"),
        (remove_metadata, "readable `metadata.json`"),
    ],
)
def test_damaged_presets_are_refused(folder, damage, message):
    damage(folder)
    if damage not in (remove_metadata, state_a_checksum_by_an_escape):
        restate(folder)
    with pytest.raises(ValueError, match=message) as raised:
        keras_ncsn.NCSNModel.from_preset(folder)
    assert "\n" not in str(raised.value)
    assert "container" not in str(raised.value)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    "damage",
    [lose_the_network, name_the_network_by_a_number, list_the_network],
)
def test_damage_is_not_blamed_on_overrides(folder, damage):
    damage(folder)
    restate(folder)
    with pytest.raises(ValueError, match="config of an `NCSNModel`"):
        keras_ncsn.NCSNModel.from_preset(folder, dtype="float16")


def test_a_preset_with_a_wrong_shape_is_listed(folder):
    mistake_the_shape(folder)
    assert format.image_shape(folder) == ()


@pytest.mark.parametrize(
    "name", ["config.json", "metadata.json", "model.weights.h5", "README.md"]
)
def test_links_out_of_a_preset_are_refused(folder, tmp_path, name):
    path = folder / name
    # Within the folder, and the folder itself, they may be.
    inner = path.rename(folder / "inner")
    path.symlink_to("inner")
    (tmp_path / "link").symlink_to(folder)
    keras_ncsn.NCSNModel.from_preset(tmp_path / "link")
    path.unlink()
    path.symlink_to(inner.rename(tmp_path / "outer"))
    with pytest.raises(
        ValueError, match=f"in its folder.*{name}.*link to.*outer"
    ):
        keras_ncsn.NCSNModel.from_preset(folder)
    with pytest.raises(ValueError, match="in its folder"):
        sources.read_card(folder)


@pytest.mark.parametrize("name", ["Model.weights.h5", "MODEL_00001.WEIGHTS.H5"])
def test_links_to_weights_are_found_on_a_case_insensitive_disk(
    folder, tmp_path, name
):
    (folder / name).symlink_to(tmp_path / "outer")
    with pytest.raises(ValueError, match=f"in its folder.*{name}.*outer"):
        keras_ncsn.NCSNModel.from_preset(folder)


def test_saving_over_a_preset_copies_no_linked_files(model, folder, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (folder / "picture.png").symlink_to(secret)
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to(secret)
    model.save_to_preset(folder, card="# Mine\n")
    assert (folder / "picture.png").is_symlink()
    assert (folder / "README.md").read_text() == "# Mine\n"
    assert secret.read_text() == "secret"


@pytest.mark.parametrize("places", [[["x"]], [{}], {}, [], None, "other.h5"])
def test_an_invalid_index_is_refused(sharded, tmp_path, places):
    folder = shutil.copytree(sharded, tmp_path / "preset")
    path = folder / "model.weights.json"
    index = json.loads(path.read_text()) | {"weight_map": {"a": places}}
    path.write_text(json.dumps(index))
    metadata = json.loads((folder / "metadata.json").read_text())
    metadata["sha256"]["model.weights.json"] = format.sha256(path)
    (folder / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="must name files that"):
        keras_ncsn.NCSNModel.from_preset(folder)


def test_invalid_overrides_are_not_blamed_on_the_preset(folder):
    with pytest.raises(ValueError, match="`sampler` must be one of"):
        keras_ncsn.NCSNModel.from_preset(folder, sampler="dice")
    with pytest.raises(ValueError, match="Unrecognized.*colour"):
        keras_ncsn.NCSNModel.from_preset(folder, colour="red")
    with pytest.raises(ValueError, match="float33") as raised:
        keras_ncsn.NCSNModel.from_preset(folder, dtype="float33")
    assert "of a preset" not in str(raised.value)


def test_unknown_presets_are_refused_with_the_known_ones(tmp_path):
    message = r"name of the zoo.*preset='clowntown'.*Names: .*, mnist,"
    with pytest.raises(ValueError, match=message):
        keras_ncsn.NCSNModel.from_preset("clowntown")
    with pytest.raises(ValueError, match="config.json.*Received"):
        keras_ncsn.NCSNModel.from_preset(tmp_path)


@pytest.mark.parametrize("preset", [None, 5, ["mnist"]])
def test_values_that_are_not_names_are_refused(preset):
    with pytest.raises(ValueError, match="`preset` must be a name.*Received"):
        keras_ncsn.NCSNModel.from_preset(preset)


@pytest.mark.parametrize("revision", ["../x", "-x", "a b", 5])
def test_wrong_revisions_of_a_name_are_refused(revision):
    with pytest.raises(ValueError, match="A revision must be"):
        keras_ncsn.NCSNModel.from_preset("mnist", revision=revision)
