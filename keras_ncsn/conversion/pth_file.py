"""Checks of an untrusted PyTorch file, before PyTorch reads it."""

import io
import zipfile
from typing import BinaryIO

_ZIP = b"PK\x03\x04"


def checked(file: BinaryIO, size: int) -> BinaryIO:
    """Returns a checked copy of a file, for PyTorch to read.

    PyTorch does not compress its files. A forged file may be compressed, and
    fill all memory although it is small. Two readers of zip files may find
    different members in the same file, so PyTorch gets a new archive with
    only the members that are checked here.

    Args:
        file: A binary file, at its beginning.
        size: Integer, its size in bytes.

    Returns:
        A binary file of about the same size. A file that is no zip file, in
        PyTorch's older format, is returned as it is. A `ValueError` is raised
        if a check fails.
    """
    is_zip = file.read(len(_ZIP)) == _ZIP
    file.seek(0)
    return _without_the_rest(file, size) if is_zip else file


def _without_the_rest(file, size):
    content = io.BytesIO()
    with (
        zipfile.ZipFile(file) as archive,
        zipfile.ZipFile(content, "w") as kept,
    ):
        members = archive.infolist()
        _check(members, size)
        for member in members:
            kept.writestr(member.filename, archive.read(member))
    content.seek(0)
    return content


def _check(members, size):
    if len({member.filename for member in members}) < len(members):
        raise ValueError("two of its members have the same name")
    if any(x.compress_type != zipfile.ZIP_STORED for x in members):
        raise ValueError("it is compressed, but PyTorch's files are not")
    if sum(member.file_size for member in members) > size:
        raise ValueError("its members are larger than the file")
