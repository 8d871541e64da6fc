"""What a PyTorch file of someone else may be, before PyTorch reads it."""

import io
import zipfile

_ZIP = b"PK\x03\x04"


def checked(file, size):
    """Returns what to give to PyTorch in place of a file.

    PyTorch does not compress what it stores. A stranger may, and then a small
    file takes all memory. Two readers of zip files may find different lists of
    members in one, so PyTorch gets an archive that has but what is seen here.

    Args:
        file: A binary file, at its beginning.
        size: Integer, its size in bytes.

    Returns:
        A binary file, no larger than the file by much. What PyTorch wrote
        before it used zip files is returned as it is. A `ValueError` says what
        is wrong.
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
        raise ValueError("two of its members have one name")
    if any(x.compress_type != zipfile.ZIP_STORED for x in members):
        raise ValueError("it is compressed, which PyTorch's files are not")
    if sum(member.file_size for member in members) > size:
        raise ValueError("its members are larger than the file")
