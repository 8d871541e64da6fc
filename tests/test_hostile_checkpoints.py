"""PyTorch files that somebody made to fill the memory, or to hang."""

import io
import pathlib
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from keras import ops
from sparse_files import HOLE_BYTES, peak_of, write_directory, write_zip

from keras_ncsn.conversion import pickles
from keras_ncsn.conversion.checkpoints import load_checkpoint

torch = pytest.importorskip("torch", reason="PyTorch reads these files")

NCSN = pathlib.Path(__file__).parent / "data" / "ncsn_28x28x1_ngf8.pth"
FEW_BYTES = 2**25


def refuse(path, message):
    with pytest.raises(ValueError, match=message) as raised:
        load_checkpoint(path)
    said = str(raised.value)
    assert said.isprintable()
    assert len(said) < 1000
    assert "MemoryError" not in said


def read_members(path=NCSN):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_checkpoint(path, pickled):
    """Writes a checkpoint of the new format with any pickle."""
    members = {"a/data.pkl": pickled, "a/version": b"3\n"}
    write_zip(path, [(name, members[name], 0) for name in members])


def write_old_checkpoint(path, pickled):
    """Writes one of the format before PyTorch 1.6."""
    torch.save({}, path, _use_new_zipfile_serialization=False)
    content, empty = path.read_bytes(), pickle.dumps({}, 2)
    # Three pickles come before it.
    assert content.count(empty) == 1
    path.write_bytes(content.replace(empty, pickled))


both_formats = pytest.mark.parametrize(
    "write", [write_checkpoint, write_old_checkpoint]
)

# `put` remembers what is on top of the stack, and `get` fetches it.
PUT, GET = b"q\0", b"h\0"


def nested(depth, start, wrap):
    """A pickle in which each object holds the one before it twice."""
    return b"\x80\x02" + start + PUT + (wrap * depth) + b"."


def tuples(depth):
    # A `dict` of them asks each for its hash.
    doubled = nested(depth, b")", GET + b"\x86" + PUT)
    return doubled[:-1] + b"}" + GET + b"Ns."


def lists(depth):
    return nested(depth, b"]", b"](" + GET + GET + b"e" + PUT)


def dicts(depth):
    return nested(depth, b"}", b"}(K\1" + GET + b"K\2" + GET + b"u" + PUT)


def keys_of_storages(depth):
    return nested(depth, b")", GET + b"\x86" + PUT)[:-1] + b"Q."


def arguments(depth):
    doubled = nested(depth, b")", GET + b"\x86" + PUT)[:-1]
    return doubled + b"ccollections\nOrderedDict\n" + GET + b"R."


def attributes(depth):
    call = b"ccollections\nOrderedDict\n)R"
    return nested(
        depth, b"}", call + b"}(K\1" + GET + b"K\2" + GET + b"ub" + PUT
    )


def filled_later(depth):
    """Each list is remembered while it is empty, and fetched to be filled."""
    empty = b"".join(b"]q" + bytes([x]) for x in range(depth + 1))
    fill = b"".join(
        b"h%c(h%ch%ce" % (x, x + 1, x + 1) for x in reversed(range(depth))
    )
    return b"\x80\x02" + empty + fill + b"h\0."


def one_after_another(depth):
    # As deep as the stack of a process is: the hash of a tuple asks for those
    # of its parts.
    return b"\x80\x02})" + b"\x85" * (100 * depth) + b"Ns."


def fetched_often(depth):
    text = b"X" + (2**16).to_bytes(4, "little") + b"x" * 2**16 + PUT
    return b"\x80\x02" + text + b"(" + GET * 2000 + b"t."


def set_often(depth):
    """The hash of one large key is needed again and again."""
    large = b"(" + b"N" * 2**12 + b"t" + PUT
    return b"\x80\x02" + large + b"}" + (GET + b"Ns") * 2**13 + b"."


@both_formats
@pytest.mark.parametrize(
    "make",
    [
        tuples,
        lists,
        dicts,
        keys_of_storages,
        arguments,
        attributes,
        filled_later,
        one_after_another,
        fetched_often,
        set_often,
    ],
)
def test_a_pickle_that_describes_too_much_is_refused(
    tmp_path, monkeypatch, write, make
):
    write(tmp_path / "nested.pth", make(60))
    monkeypatch.setattr(torch, "load", None)
    refuse(
        tmp_path / "nested.pth",
        "whole PyTorch file.*its pickle describes must have at most 16,777,216",
    )


@both_formats
@pytest.mark.parametrize(
    "pickled", [b"]" + PUT + GET + b"a.", b"]" + PUT + b"}K\1" + GET + b"sa."]
)
def test_objects_that_contain_themselves_are_refused(
    tmp_path, monkeypatch, write, pickled
):
    if b"}" in pickled:
        pickled = b"]" + PUT + b"}K\1" + GET + b"sa."
    write(tmp_path / "loop.pth", b"\x80\x02" + pickled)
    monkeypatch.setattr(torch, "load", None)
    refuse(tmp_path / "loop.pth", "PyTorch file.*must not contain itself")


@both_formats
@pytest.mark.parametrize(
    "pickled",
    [
        b"cbuiltins\nbytearray\n\x8a\x05\0\0\0\x80\0\x85R.",
        b"c__builtin__\nbytearray\nJ\0\0\0\x40\x85R.",
        b"ctorch\nFloatTensor\nJ\0\0\0\x40\x85R.",
        b"ctorch.storage\nUntypedStorage\nJ\0\0\0\x40\x85R.",
        b"ccollections\nCounter\n)R.",
        b"c__builtin__\neval\n)R.",
    ],
)
def test_only_functions_that_make_tensors_are_called(
    tmp_path, monkeypatch, write, pickled
):
    """A `bytearray` of any size takes a hundred bytes to ask for."""
    write(tmp_path / "calls.pth", b"\x80\x02" + pickled)
    monkeypatch.setattr(torch, "load", None)
    name = pickled[1:].split(b"\n")[1].decode()
    refuse(
        tmp_path / "calls.pth",
        f"PyTorch file.*its pickle names [a-z_.]+ {name}",
    )


@both_formats
@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"\x80\x02N1.", "opcode POP_MARK"),
        (b"\x80\x04\x94.", "opcode MEMOIZE"),
        (b"\x80\x02(lp0\n.", "opcode LIST"),
        (b"\x80\x02" + b"N" * 1000 + b".", "1,000 opcodes"),
        (b"\x80\x02t.", "pop"),
        (b"\x80\x02h\5.", "KeyError 5"),
        (b"\x80\x02q\5.", "index"),
        (b"\x80\x02\x85e.", "pop|index"),
        (b"\x80\x02X\xff\xff\xff\xffN.", "4294967295 bytes"),
        (b"\x80\x02" + b"N" * 9, "exhausted"),
        (b"\xff", "unknown"),
        (b"", "exhausted"),
    ],
)
def test_pickles_that_pytorch_never_writes_are_refused(
    tmp_path, monkeypatch, write, pickled, message
):
    write(tmp_path / "odd.pth", pickled)
    monkeypatch.setattr(torch, "load", None)
    monkeypatch.setattr(pickles, "MAX_OPCODES", 1000)
    refuse(tmp_path / "odd.pth", f"whole PyTorch file.*{message}")


@pytest.mark.parametrize("legacy", [False, True])
def test_objects_shared_within_checkpoints_are_read(tmp_path, legacy):
    checkpoint = torch.load(NCSN, weights_only=True)
    betas, shared = (0.9, 0.999), torch.nn.Parameter(torch.ones(3))
    checkpoint[1] = {
        "groups": [{"betas": betas, "shared": shared}] * 100,
        "odd": [None, True, -(2**40), 1.5, "\u00e9", torch.float32],
        "sizes": torch.ones(2, 3).shape,
    }
    path = tmp_path / "shared.pth"
    torch.save(checkpoint, path, _use_new_zipfile_serialization=not legacy)
    load_checkpoint(path, image_size=8)


def test_an_archive_in_an_old_archive_is_not_opened(tmp_path, monkeypatch):
    """PyTorch reads as much of such a file as its header states."""
    header = bytearray(tarfile.TarInfo("a name").tobuf())
    header[:3] = b"\x80\x02X"
    header[148:155] = b"%06o\0" % tarfile.calc_chksums(header)[0]
    path = tmp_path / "tar.pth"
    path.write_bytes(header)
    with tarfile.open(path):
        pass
    monkeypatch.setattr(torch, "load", None)
    refuse(path, "whole PyTorch file.*it is a tar archive")


def sparse(path, name, start=b""):
    """Writes a checkpoint with one member that is a hole."""
    members = [(x, y, 0) for x, y in read_members().items() if x != name]
    write_zip(path, [*members, (name, start, HOLE_BYTES)])


@pytest.mark.parametrize("name", ["data.pkl", "version", "byteorder", "data/0"])
def test_members_of_gigabytes_are_not_held_in_memory(tmp_path, name):
    sparse(tmp_path / "sparse.pth", f"{NCSN.stem}/{name}")
    peak = peak_of(lambda: refuse(tmp_path / "sparse.pth", "PyTorch file"))
    assert peak < FEW_BYTES


def test_members_that_pytorch_does_not_read_are_left_out(tmp_path):
    junk = [
        *("junk", "a/junk", "a/data/junk", "a/data/0/0", "a/DATA.PKL"),
        *("a/code/data.pkl", "a/../a/data/9", "b/data/9", "a/constants.pkl"),
        *("a/.data/serialization_id", "a/.storage_alignment", "a/data/-1"),
    ]
    members = [
        (name.replace(NCSN.stem, "a"), content, 0)
        for name, content in read_members().items()
    ]
    path = tmp_path / "junk.pth"
    write_zip(path, members + [(name, b"", 2**26) for name in junk])
    network = None

    def read():
        nonlocal network
        network, _ = load_checkpoint(path, image_size=8)

    assert peak_of(read) < FEW_BYTES
    np.testing.assert_array_equal(
        ops.convert_to_numpy(network.get_layer("begin_conv").bias),
        torch.load(NCSN)[0]["module.begin_conv.bias"].detach(),
    )


@pytest.mark.parametrize("is_zip64", [False, True])
def test_directories_of_gigabytes_are_not_read(tmp_path, is_zip64):
    path = tmp_path / "directory.pth"
    write_directory(path, is_zip64)
    peak = peak_of(lambda: refuse(path, "its directory must have at most"))
    assert peak < FEW_BYTES


def test_a_checkpoint_is_held_in_memory_once(tmp_path):
    """PyTorch's own memory is not counted here."""
    path = tmp_path / "large.pth"
    torch.save({"a": torch.ones(2**23)}, path)
    peak = peak_of(lambda: refuse(path, "NCSN or NCSNv2"))
    assert path.stat().st_size >= 2**25
    assert peak < 2**23


def test_a_disk_without_room_for_the_copy_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "shutil.disk_usage", lambda path: type("Usage", (), {"free": 999})
    )
    with pytest.raises(OSError, match=f"must have room.*{NCSN.name}.*TMPDIR"):
        load_checkpoint(NCSN)


def test_an_empty_archive_is_refused(tmp_path):
    path = tmp_path / "empty.pth"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/b", "")
    path.write_bytes(buffer.getvalue())
    refuse(path, "whole PyTorch file.*data.pkl")


def change_old_checkpoint(path, keys, claimed=None):
    """Writes one of the old format, and replaces what its end states."""
    state = {"a": torch.zeros(9999), "b": torch.zeros(3)}
    torch.save(state, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    stated = pickle.dumps(9999, 2)[2:-1]
    # The numbers are 0, so the last of the pickles ends at this opcode.
    end = content.rindex(b"\x80\x02]q")
    honest = pickle.loads(content[end:])
    listed = pickle.dumps(keys(honest), 2)
    rest = content[end + len(pickle.dumps(honest, 2)) :]
    if claimed is not None:
        start = content[:end].replace(
            b"M\x0f\x27", b"J" + claimed.to_bytes(4, "little", signed=True)
        )
        assert stated == b"M\x0f\x27"
        assert start != content[:end]
        content = start + content[end:]
        end = len(start)
    path.write_bytes(content[:end] + listed + rest)


@pytest.mark.parametrize(
    "keys",
    [
        lambda honest: [],
        lambda honest: honest[:1],
        lambda honest: honest[1:],
        lambda honest: [*honest, honest[0]],
        lambda honest: [honest[0], honest[0]],
        lambda honest: [*honest, "x"],
        lambda honest: dict([honest]),
        lambda honest: {},
        lambda honest: tuple(honest),
        lambda honest: [honest],
        lambda honest: "".join(honest),
        lambda honest: None,
        lambda honest: [*honest, 1],
    ],
)
def test_storages_that_an_old_file_does_not_list_are_refused(
    tmp_path, monkeypatch, keys
):
    """PyTorch would give tensors of what was in the memory before."""
    change_old_checkpoint(tmp_path / "a.pth", keys)
    monkeypatch.setattr(torch, "load", None)
    refuse(tmp_path / "a.pth", "PyTorch file.*does not list the storages")


@pytest.mark.parametrize("claimed", [2**31 - 1, 9998, 10_000, 0])
def test_storages_are_as_large_as_an_old_file_claims(
    tmp_path, monkeypatch, claimed
):
    path = tmp_path / "a.pth"
    change_old_checkpoint(path, lambda honest: honest, claimed)
    monkeypatch.setattr(torch, "load", None)
    refuse(path, "PyTorch file.*does not hold all of its storage [0-9]+")


@pytest.mark.parametrize("missing", [1, 13, 50_000])
def test_an_old_file_that_ends_too_early_is_refused(
    tmp_path, monkeypatch, missing
):
    path = tmp_path / "a.pth"
    torch.save(
        {"a": torch.zeros(99_999)}, path, _use_new_zipfile_serialization=False
    )
    path.write_bytes(path.read_bytes()[:-missing])
    monkeypatch.setattr(torch, "load", None)
    refuse(path, "PyTorch file.*does not hold all of its storage [0-9]+")


@both_formats
@pytest.mark.parametrize(
    "named",
    [
        b"X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0aU\1aK\1",
        b"X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0aX\1\0\0\0aJ"
        b"\xff\xff\xff\xff",
        b"X\7\0\0\0storagectorch\nOddStorage\nX\1\0\0\0aX\1\0\0\0aK\1",
        b"X\7\0\0\0storagectorch\nFloatStorage\nK\1X\1\0\0\0aK\1",
        b"X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0aX\1\0\0\0a\x88",
        b"X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0aX\1\0\0\0aK\1"
        b"X\1\0\0\0vK\0K\1\x87",
        b"X\7\0\0\0storage",
        b"",
    ],
)
def test_storages_named_in_an_odd_way_are_refused(
    tmp_path, monkeypatch, write, named
):
    write(tmp_path / "odd.pth", b"\x80\x02(" + named + b"tQ.")
    monkeypatch.setattr(torch, "load", None)
    refuse(tmp_path / "odd.pth", "PyTorch file.*names a storage as PyTorch nev")


@pytest.mark.parametrize("content", [None, b"", bytes(8), bytes(400)])
def test_storages_are_as_large_as_their_members(tmp_path, monkeypatch, content):
    path = tmp_path / "a.pth"
    torch.save({"a": torch.zeros(3)}, path)
    members = read_members(path)
    members["a/data/0"] = content
    write_zip(path, [(x, y, 0) for x, y in members.items() if y is not None])
    monkeypatch.setattr(torch, "load", None)
    refuse(path, "PyTorch file.*does not hold all of its storage 0")
