"""Checks of an untrusted PyTorch file, before PyTorch reads it."""

import contextlib
import io
import re
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from typing import IO

from keras_ncsn.annotations import StrPath
from keras_ncsn.conversion.pickles import check_pickle
from keras_ncsn.files.archives import PIECE_BYTES, open_archive
from keras_ncsn.files.scratch import open_scratch
from keras_ncsn.text import one_line

_ZIP = b"PK\x03\x04"
# What PyTorch reads of its files; the rest is for other readers. The pickle of
# an NCSN has a hundred kilobytes.
_MEMBER = re.compile(r"data\.pkl|version|byteorder|data/\d+")
_MOST_BYTES = {"data.pkl": 2**24, "version": 99, "byteorder": 99}
# Before PyTorch 1.6: three for the format, the content, names of its storages.
_NUM_OLD_PICKLES = 5
# The old format has the number of its items before each storage.
_COUNT_BYTES = 8


@contextlib.contextmanager
def checked(file: IO[bytes], size: int, path: StrPath) -> Iterator[IO[bytes]]:
    """Opens what PyTorch may read of a file.

    PyTorch does not compress its files. A forged file may be compressed, and
    fill all memory although it is small. Two readers of zip files may find
    different members in the same file, so PyTorch gets a new archive, in a
    temporary file, with only the members that are checked here.

    Args:
        file: A binary file, at its beginning.
        size: Integer, its size in bytes.
        path: Path of the file, for messages.

    Yields:
        A binary file of at most about the same size. A file that is no zip
        file, in PyTorch's older format, is yielded as it is. An exception is
        raised if a check fails.
    """
    is_zip = file.read(len(_ZIP)) == _ZIP
    file.seek(0)
    if not is_zip:
        _check_old_format(file, size)
        yield file
        return
    with open_archive(file) as archive:
        members = _find_members(archive)
        _check(members, size)
        num_bytes = sum(member.file_size for member in members.values())
        with open_scratch(num_bytes, path) as copy:
            _copy(archive, members, copy)
            yield copy


def _find_members(archive):
    """Returns the members that PyTorch reads, by their names in the folder."""
    members = {}
    for member in archive.infolist():
        # PyTorch takes the folder of the first member.
        folder = archive.infolist()[0].filename.partition("/")[0]
        name = member.filename.removeprefix(f"{folder}/")
        if name == member.filename or not _MEMBER.fullmatch(name):
            continue
        if name in members:
            raise ValueError("two of its members have the same name")
        members[name] = member
    return members


def _check(members, size):
    if any(x.compress_type != zipfile.ZIP_STORED for x in members.values()):
        raise ValueError("it is compressed, but PyTorch's files are not")
    if sum(member.file_size for member in members.values()) > size:
        raise ValueError("its members are larger than the file")
    for name, most in _MOST_BYTES.items():
        if name in members and members[name].file_size > most:
            raise ValueError(
                f"its {name} must have at most {most:,} bytes, and has "
                f"{members[name].file_size:,}"
            )


def _copy(archive, members, copy):
    with zipfile.ZipFile(copy, "w") as kept:
        for name, member in members.items():
            target = zipfile.ZipInfo(f"archive/{name}")
            target.file_size = member.file_size
            with archive.open(member) as packed, kept.open(target, "w") as file:
                shutil.copyfileobj(packed, file, PIECE_BYTES)
    with zipfile.ZipFile(copy) as kept:
        contents = check_pickle(io.BytesIO(kept.read("archive/data.pkl")))
    for key, storage in contents.storages.items():
        # Not every version of PyTorch compares them.
        member = members.get(f"data/{key}")
        if member is None or member.file_size != storage.num_bytes:
            raise _not_stored(key)
    copy.seek(0)


def _check_old_format(file, size):
    start = io.BytesIO(file.read(_MOST_BYTES["data.pkl"]))
    file.seek(0)
    if _is_tar(start.getvalue()):
        raise ValueError("it is a tar archive")
    pickles = [check_pickle(start) for _ in range(_NUM_OLD_PICKLES)]
    # PyTorch fills only the storages of this list. The others would hold what
    # this process had in its memory before.
    storages, keys = pickles[-2].storages, pickles[-1].texts
    if keys is None or sorted(keys) != sorted(storages):
        raise ValueError("it does not list the storages that its pickle names")
    end = start.tell()
    for key in keys:
        file.seek(end)
        num_items = int.from_bytes(file.read(_COUNT_BYTES), sys.byteorder)
        end += _COUNT_BYTES + storages[key].num_bytes
        if num_items != storages[key].num_items or end > size:
            raise _not_stored(key)
    file.seek(0)


def _not_stored(key):
    return ValueError(f"it does not hold all of its storage {one_line(key)}")


def _is_tar(start):
    # PyTorch looks for one in each file, and would read it whole.
    try:
        tarfile.TarInfo.frombuf(start[: tarfile.BLOCKSIZE], "utf-8", "replace")
    except tarfile.HeaderError:
        return False
    return True
