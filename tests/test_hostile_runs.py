"""Run folders that nobody trained: each file is read, or refused in words."""

import json
import os
import socket
import time
import zipfile

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import two_convolutions
from fuzzing import few_or_many, fuzz, mutations, refused_in_words
from hypothesis import given
from json_mutations import json_mutations
from sparse_files import HOLE_BYTES, peak_of, write_directory, write_zip

import keras_ncsn
from keras_ncsn import cli
from keras_ncsn.callbacks import log_file
from keras_ncsn.callbacks.training_state import load_state, save_state
from keras_ncsn.runs import provenance, recipes, run_file
from keras_ncsn.runs.recipe import check_values

pytestmark = pytest.mark.usefixtures("alarm")


def named_pipe(path):
    os.mkfifo(path)


def link_to_a_named_pipe(path):
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


def unix_socket(path):
    # The names of sockets must be short.
    here = os.getcwd()
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)
    os.chdir(here)


def link_to_a_device(path):
    path.symlink_to("/dev/zero")


def a_folder(path):
    path.mkdir()


def terabytes_of_nothing(path):
    path.touch()
    os.truncate(path, 2**42)


KINDS = [
    named_pipe,
    link_to_a_named_pipe,
    unix_socket,
    link_to_a_device,
    a_folder,
    terabytes_of_nothing,
]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = keras_ncsn.NCSNModel(two_convolutions((4, 4, 1)), seed=0)
    model.compile("adam")
    return model


@pytest.fixture(scope="module")
def good_state(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("state") / "state.npz"
    save_state(model, path, 3)
    return path


def arrays_of(path):
    with np.load(path) as file:
        return dict(file)


def refuse(call, message):
    with pytest.raises(ValueError, match=message) as raised:
        call()
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 2000


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("name", ["state.npz", "log.csv", "run.json"])
def test_irregular_files_are_refused_without_waiting(
    model, tmp_path, name, make
):
    make(tmp_path / name)
    began = time.monotonic()
    read = {
        "state.npz": lambda: load_state(model, tmp_path / name),
        "log.csv": lambda: list(log_file.read_log(tmp_path / name)),
        "run.json": lambda: run_file.read(tmp_path),
    }[name]
    # A link in place of a run file is refused as such.
    wanted = "must not be a link|must .*readable"
    refuse(read, rf"({wanted}).*Received: .*{name}")
    assert time.monotonic() - began < 10


def zipped(path, arrays, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in arrays:
            archive.writestr(name, content)


def members_of(path):
    """The first is a kernel of shape (3, 3, 1, 8)."""
    with zipfile.ZipFile(path) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    return sorted(members, key=lambda member: b"(3, 3, 1, 8)" not in member[1])


def header(shape, dtype="<f4", more=""):
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, "
    text = (text + more + "}").ljust(117) + "\n"
    return (
        b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
    )


def deflated(members):
    return members, zipfile.ZIP_DEFLATED


def lzma(members):
    return members, zipfile.ZIP_LZMA


def a_bomb(members):
    return [(members[0][0], bytes(2**28)), *members[1:]], zipfile.ZIP_DEFLATED


def more_arrays(members):
    return [*members, ("more.npy", header((2**50,)))]


def another_name(members):
    return [("\x1b[2J\n.npy", members[0][1]), *members[1:]]


def a_shape_of_terabytes(members):
    return [(members[0][0], header((2**40,))), *members[1:]]


def objects(members):
    return [(members[0][0], header((3, 3, 1, 8), "|O")), *members[1:]]


def text(members):
    return [(members[0][0], header((3, 3, 1, 8), "<U1000000")), *members[1:]]


def integers_for_floats(members):
    return [(members[0][0], header((3, 3, 1, 8), "<i8")), *members[1:]]


def half_an_array(members):
    return [(members[0][0], members[0][1][:-50]), *members[1:]]


def twice(members):
    return [*members, members[0]]


def no_header(members):
    return [(members[0][0], b""), *members[1:]]


def a_header_of_brackets(members):
    content = b"\x93NUMPY\x01\x00" + (9000).to_bytes(2, "little") + b"(" * 9000
    return [(members[0][0], content), *members[1:]]


def a_header_that_is_no_python(members):
    content = b"\x93NUMPY\x01\x00\x10\x00" + b"{'a': \"\"\"\\\n  ''(" + b"\n"
    return [(members[0][0], content), *members[1:]]


def a_negative_side(members):
    return [(members[0][0], header((-3, 3, 1, -8))), *members[1:]]


def a_version_of_another_numpy(members):
    return [(members[0][0], b"\x93NUMPY\x09\x00" + bytes(99)), *members[1:]]


def stepping(value, dtype="<i8"):
    def spoil(members):
        content = header((), dtype) + np.array(value, dtype).tobytes()
        return [(n, content if n == "step.npy" else c) for n, c in members]

    spoil.__name__ = f"step_{value}_{dtype}"
    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (deflated, "readable.*is compressed"),
        (lzma, "readable.*is compressed"),
        (a_bomb, "readable.*is compressed"),
        (more_arrays, "same model.*differs in more$"),
        (another_name, r"same model.*differs in \[2J , model/[0-9]$"),
        (a_shape_of_terabytes, "same model.*differs in model/[0-9]$"),
        (objects, "readable"),
        (text, "readable"),
        (integers_for_floats, "same model.*differs in model/[0-9]$"),
        (half_an_array, "readable"),
        (no_header, "readable"),
        (a_header_of_brackets, "readable"),
        (a_header_that_is_no_python, "readable"),
        (a_negative_side, "readable.*states the shape"),
        (a_version_of_another_numpy, "readable"),
        (
            stepping(2**62),
            "from 0 to 2,147,483,647.*states 4611686018427387904",
        ),
        (stepping(-1), "from 0 to"),
        (stepping(2.0, "<f8"), "same model.*differs in step"),
        (stepping(1e300, "<f8"), "same model.*differs in step"),
        (stepping(1, "?"), "same model.*differs in step"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_header_of_a_state_is_checked_before_its_arrays(
    model, good_state, tmp_path, spoil, message, monkeypatch
):
    made = spoil(members_of(good_state))
    made = made if isinstance(made, tuple) else (made,)
    zipped(tmp_path / "state.npz", *made)
    before = model.get_weights()
    if "same model" in message or "compressed" in message:
        monkeypatch.setattr(np.lib.format, "read_array", None)
    refuse(lambda: load_state(model, tmp_path / "state.npz"), message)
    assert all(map(np.array_equal, before, model.get_weights()))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_duplicate_array_is_read_once(model, good_state, tmp_path):
    zipped(tmp_path / "state.npz", twice(members_of(good_state)))
    assert load_state(model, tmp_path / "state.npz") == 3


def a_long_header(members):
    start = b"\x93NUMPY\x02\x00" + HOLE_BYTES.to_bytes(4, "little")
    return [(members[0][0], start, HOLE_BYTES), *members[1:]]


def much_after_an_array(members):
    return [(*members[0][:2], HOLE_BYTES), *members[1:]]


def another_member(members):
    return [*members, ("junk.npy", b"", HOLE_BYTES)]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (a_long_header, "readable"),
        (another_member, "same model.*differs in junk$"),
        (much_after_an_array, None),
    ],
)
def test_a_state_of_gigabytes_is_not_read(
    model, good_state, tmp_path, spoil, message
):
    members = [(*member, 0) for member in members_of(good_state)]
    path = tmp_path / "state.npz"
    write_zip(path, spoil(members))

    def read():
        if message:
            refuse(lambda: load_state(model, path), message)
        else:
            assert load_state(model, path) == 3

    assert peak_of(read) < 2**24


@pytest.mark.parametrize("is_zip64", [False, True])
def test_a_directory_of_gigabytes_is_not_read(model, tmp_path, is_zip64):
    path = tmp_path / "state.npz"
    write_directory(path, is_zip64)
    peak = peak_of(
        lambda: refuse(
            lambda: load_state(model, path),
            "readable.*its directory must have at most 1,048,576 bytes",
        )
    )
    assert peak < 2**24


def test_states_of_other_machines_load(model, good_state, tmp_path):
    arrays = arrays_of(good_state)
    kinds = {"f": ">f8", "i": ">i8", "u": ">i8"}
    swapped = {n: a.astype(kinds[a.dtype.kind]) for n, a in arrays.items()}
    kernel = members_of(good_state)[0][0].removesuffix(".npy")
    swapped[kernel] = np.asfortranarray(swapped[kernel] + 1)
    np.savez(tmp_path / "state.npz", **swapped)
    before = model.network.get_weights()
    assert load_state(model, tmp_path / "state.npz") == 3
    after = model.network.get_weights()
    np.testing.assert_allclose(after[0], before[0] + 1, rtol=1e-6)
    assert all(map(np.array_equal, before[1:], after[1:]))
    load_state(model, good_state)


def edited(changes):
    run = run_file.describe("mnist", "unet-mnist")
    for names, value in changes.items():
        part = run
        *outer, last = names.split("/")
        for name in outer:
            part = part.setdefault(name, {})
        part[last] = value
    return run


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe/random_flip": "no"}, "`random_flip` must be True or False"),
        ({"recipe/random_flip": 1}, "`random_flip` must be True or False"),
        ({"recipe/steps": "100"}, "`steps` must be an integer from 1 to"),
        ({"recipe/steps": 2**62}, "`steps` must be an integer from 1 to"),
        ({"recipe/steps": 10.0}, "`steps` must be an integer from 1 to"),
        ({"recipe/steps": True}, "`steps` must be an integer from 1 to"),
        ({"recipe/steps": None}, "`steps` must be an integer from 1 to"),
        ({"recipe/num_steps": 10**15}, "`num_steps` must be an integer"),
        ({"recipe/num_steps": 10**7}, "must evaluate the network at most"),
        ({"recipe/steps_per_level": 10**7}, "must evaluate the network at"),
        ({"recipe/num_levels": 10**15}, "`num_levels` must be an integer"),
        ({"recipe/steps_per_level": 10**15}, "`steps_per_level` must be an"),
        ({"recipe/width": [44]}, r"`width` must be .*width=\[44\]"),
        ({"recipe/width_multipliers": 3}, "must be a list of .* integers"),
        ({"recipe/width_multipliers": "12"}, "must be a list of .* integers"),
        (
            {"recipe/width_multipliers": [10**9]},
            "must be a list of .* integers",
        ),
        ({"recipe/attention_stages": [[1]]}, "must be a list of .* integers"),
        ({"recipe/attention_stages": {}}, "must be a list of .* integers"),
        ({"recipe/learning_rate": float("nan")}, "finite number above 0"),
        ({"recipe/learning_rate": float("inf")}, "finite number above 0"),
        ({"recipe/learning_rate": 10**400}, "finite number above 0"),
        ({"recipe/sigma_max": "80"}, "finite number above 0"),
        ({"recipe/sigma_max": 10**300}, "finite number above 0"),
        ({"recipe/dropout": 1}, "at least 0 and below 1"),
        ({"recipe/churn": {}}, "finite number of at least 0"),
        ({"recipe/dtype": "int8\x1b[2J"}, "`dtype` must be one of"),
        ({"recipe/dtype": ["float32"]}, "`dtype` must be one of"),
        ({"recipe/network": "lambda"}, "`network` must be one of"),
        ({"recipe": []}, r"recipe=\[\]"),
        ({"recipe": None}, "recipe=None"),
        ({"recipe_name": []}, "recipe_name="),
        ({"recipe_name": "\x1b[2J"}, "KeyError"),
        ({"from_preset": 3}, "from_preset=3"),
        ({"from_preset": ["mnist"]}, "from_preset="),
        ({"seed": "3"}, "seed='3'"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 2**62}, "seed=46"),
        ({"seed": 1e400}, "seed=inf"),
        ({"data": 3}, "data=3"),
        ({"data": "x" * 4097}, "data='xxx"),
        ({"from_preset": "x" * 4097}, "from_preset='xxx"),
        ({"images": [1]}, "images="),
        ({"images/shape": [[[]]]}, "images="),
        ({"writing": "no"}, "writing='no'"),
        ({"writing/log_every": 2**62}, "log_every=46"),
        ({"writing/tensorboard": "yes"}, "tensorboard='yes'"),
        ({"writing/tensorboard": 1}, "tensorboard=1"),
        ({"writing/\x1b[2J": 1}, "which no run has"),
        ({"\x1b[2J": 1}, "which no run has"),
    ],
)
def test_a_run_file_with_an_invalid_recipe_is_refused(
    tmp_path, changes, message
):
    (tmp_path / "run.json").write_text(json.dumps(edited(changes)))
    refuse(lambda: run_file.read(tmp_path), f"readable run.json.*{message}")
    # From Python, and from a file, by one check.
    if message.startswith("`"):
        given = {n.removeprefix("recipe/"): v for n, v in changes.items()}
        refuse(lambda: run_file.describe("mnist", "unet-mnist", given), message)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"recipe": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"data": ' + b'{"a":' * 990 + b"1" + b"}" * 990 + b"}",
        b"\xff\xfe",
        b"null",
        b"3",
        b"",
        b'{"seed": ' + b"9" * 5000 + b"}",
        b'"' + b"x" * 2**20 + b'"',
    ],
    ids=range(9),
)
def test_a_run_file_must_be_json_of_limited_size(tmp_path, content):
    (tmp_path / "run.json").write_bytes(content)
    refuse(lambda: run_file.read(tmp_path), "readable run.json")


@pytest.mark.parametrize("depth", range(900, 1000, 7))
def test_a_deeply_nested_run_file_gives_one_message(tmp_path, depth):
    run = json.dumps(run_file.describe("mnist", "unet-mnist"))
    deep = "[" * depth + "]" * depth
    for old in ('"mnist"', "18000", '"unet"', "null"):
        (tmp_path / "run.json").write_text(run.replace(old, deep, 1))
        refuse(lambda: run_file.read(tmp_path), "readable run.json")


@pytest.mark.parametrize("missing", ["seed", "recipe", "data", "recipe_name"])
def test_missing_entries_of_a_run_file_are_named(tmp_path, missing):
    run = run_file.describe("mnist", "unet-mnist")
    del run[missing]
    (tmp_path / "run.json").write_text(json.dumps(run))
    refuse(lambda: run_file.read(tmp_path), f"readable run.json.*{missing}")


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_the_named_recipes_are_valid(name):
    recipe = recipes.RECIPES[name]
    check_values(type(recipe), recipe.values())
    for value in recipe.values().values():
        assert not isinstance(value, np.generic)


def test_every_value_of_a_recipe_is_checked():
    known = recipes.RECIPES.values()
    names = {(type(x), name) for x in known for name in x.values()}
    for kind, name in names:
        for odd in ({}, float("nan"), 10**400, "\x1b[2J"):
            refuse(lambda: kind(**{name: odd}), f"`{name}` must be")  # noqa: B023


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("ncsn-mnist", {"network": "unet"}, "`network` must be one that the"),
        ("ncsn-mnist", {"sigma_distribution": None}, "no preset to take it"),
        ("unet-mnist", {"log_sigma_std": None}, "no preset to take it"),
    ],
)
def test_settings_that_the_recipe_needs_are_checked(name, settings, message):
    refuse(lambda: run_file.describe("pictures", name, settings), message)


def test_the_command_line_prints_one_sentence(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps(edited({"recipe/steps": "no"})))
    result = CliRunner().invoke(
        cli.cli, ["train", str(tmp_path), str(run), "--resume"]
    )
    assert result.exit_code != 0
    assert "`steps` must be an integer" in str(result.exception)
    assert isinstance(result.exception, ValueError)


GOOD_RUN = json.dumps(
    run_file.describe("mnist", "unet-mnist")
    | {
        "images": {"shape": [9, 8, 8, 1], "dtype": "uint8", "crc32_of_some": 3},
        "writing": run_file.WRITING,
    }
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@few_or_many
def test_a_damaged_state_is_read_or_refused(
    model, good_state, place, num_cases
):
    path = place / "state.npz"

    @fuzz(num_cases)
    @given(mutations(good_state.read_bytes()))
    def read(damaged):
        path.write_bytes(damaged)
        with refused_in_words():
            load_state(model, path)

    read()
    load_state(model, good_state)


@few_or_many
@pytest.mark.parametrize("mutate", [mutations, json_mutations])
def test_a_damaged_run_file_is_read_or_refused(place, mutate, num_cases):
    good = GOOD_RUN if mutate is json_mutations else GOOD_RUN.encode()

    @fuzz(num_cases)
    @given(mutate(good))
    def read(damaged):
        damaged = damaged if isinstance(damaged, bytes) else damaged.encode()
        (place / "run.json").write_bytes(damaged)
        with refused_in_words():
            before = run_file.read(place)
            run = run_file.describe("mnist", before=before)
            run_file.check(place, run, resume=True)
            provenance.metadata(run)

    read()


@pytest.mark.parametrize("position", ["first", "last"])
def test_only_checked_arrays_are_read(tmp_path, make_model, position):
    """A member without `.npy` passed in place of the one that was read."""
    model = make_model()
    model.compile()
    save_state(model, tmp_path / "good.npz", 3)
    with (
        zipfile.ZipFile(tmp_path / "good.npz") as good,
        zipfile.ZipFile(tmp_path / "state.npz", "w") as bad,
    ):
        members = {name: good.read(name) for name in good.namelist()}
        twin = members["model/0.npy"]
        large = twin + bytes(10_000)
        pair = [("model/0.npy", large, zipfile.ZIP_DEFLATED)]
        pair.append(("model/0", twin, zipfile.ZIP_STORED))
        for name, data, method in pair if position == "first" else pair[::-1]:
            bad.writestr(name, data, method)
        del members["model/0.npy"]
        for name, data in members.items():
            bad.writestr(name, data)
    with pytest.raises(ValueError, match=r"state\.npz, it has members that ar"):
        load_state(model, tmp_path / "state.npz")
