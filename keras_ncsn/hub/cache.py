"""The cache of the Hugging Face Hub's client, on this machine.

It has a folder for each commit, with links to blobs. The name of a blob is the
hash of its content, as the Hub states it.
"""

import contextlib
import hashlib
import os
import pathlib

from keras_ncsn.annotations import StrPath
from keras_ncsn.files import open_regular, open_whole
from keras_ncsn.hub.addresses import Source
from keras_ncsn.hub.errors import check_time_outs
from keras_ncsn.text import one_line

_PIECE = 2**20


def check(path: pathlib.Path) -> None:
    """Raises a `ValueError` if a cached file differs from the Hub's.

    The file is then removed, so that it is downloaded again. A file whose hash
    is unknown passes, and so does one that is not in the cache.

    Args:
        path: A `pathlib.Path`.
    """
    if is_whole(path) is False:
        forget(path)
        raise ValueError(
            "A file in the Hub's cache must match the file on the Hub. "
            f"Received: {one_line(path)}, which was damaged in transit or on "
            "this disk, and is now removed. Try again to download it."
        )


def is_whole(path: pathlib.Path) -> bool | None:
    """Returns whether a file in the cache matches the file on the Hub.

    Args:
        path: A `pathlib.Path`.

    Returns:
        Boolean, or `None` if this is unknown: a mirror may name files in its
        own way, and the names are lost if the cache has no links.
    """
    if not (path.is_symlink() and path.is_file() and _is_in_cache(path)):
        return None
    # Only the first link is followed. A blob may itself be a link to one that
    # several repositories share, which has another name.
    name = path.readlink().name
    if not set(name) <= set("0123456789abcdef") or len(name) not in (40, 64):
        return None
    with open_regular(path) as file:
        if len(name) == 64:
            return hashlib.file_digest(file, "sha256").hexdigest() == name
        return name in _git_names(file)


def check_kind(path: pathlib.Path) -> None:
    """Raises a `ValueError` unless a path in the cache is a regular file.

    The client does not check this.

    Args:
        path: A `pathlib.Path`.
    """
    if not path.is_file():
        raise ValueError(
            "A file in the Hub's cache must be a regular file. Received: "
            f"{one_line(path)}, which is not one. Remove it, and try again to "
            "download it."
        )


def forget(path: pathlib.Path) -> None:
    """Removes a file from the cache, so that it is downloaded again.

    Args:
        path: A `pathlib.Path`; a file that is not in the cache stays.
    """
    blob = resolve(path)
    if _is_in_cache(path) and holds(blob):
        # A cache that cannot be written, as in a container, stays as it is.
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            blob.unlink(missing_ok=True)


def distrust(path: pathlib.Path) -> None:
    """Removes a file from the cache unless it is known to be whole.

    This is for errors that damage could explain.

    Args:
        path: A `pathlib.Path`; a file that is not in the cache stays.
    """
    if not is_whole(path):
        forget(path)


def remember(source: Source, path: pathlib.Path) -> None:
    """Makes a revision in the cache point to the commit of a file.

    Args:
        source: A `Source`.
        path: A `pathlib.Path` of a file of the source in the cache.
    """
    snapshot = _snapshot(source, path)
    reference = snapshot.parents[1] / "refs" / (source.revision or "main")
    # A cache that cannot be written, as in a container, is used as it is.
    with contextlib.suppress(OSError):
        reference.parent.mkdir(parents=True, exist_ok=True)
        with open_whole(reference) as file:
            file.write(snapshot.name.encode())


def commit_of(source: Source, path: pathlib.Path) -> str:
    """Returns the commit of a file in the cache.

    Args:
        source: A `Source`.
        path: A `pathlib.Path`.

    Returns:
        String.
    """
    return _snapshot(source, path).name


def holds(path: pathlib.Path) -> bool:
    """Returns whether a path is in the Hub's cache.

    Args:
        path: A `pathlib.Path`, resolved.

    Returns:
        Boolean.
    """
    from huggingface_hub import constants

    return path.is_relative_to(resolve(constants.HF_HUB_CACHE))


def resolve(path: StrPath) -> pathlib.Path:
    """Returns a path with its links resolved, even if they form a circle.

    Args:
        path: Path.

    Returns:
        A `pathlib.Path`.
    """
    # `pathlib.Path.resolve` raises a `RuntimeError` for a circle.
    return pathlib.Path(os.path.realpath(path))


def is_cached(source: Source, filename: str) -> bool:
    """Returns whether a file is in the Hub's cache.

    Args:
        source: A `Source`.
        filename: String.

    Returns:
        Boolean.
    """
    return cached_path(source, filename) is not None


def cached_path(source: Source, filename: str) -> pathlib.Path | None:
    """Returns the path of a file in the Hub's cache.

    Args:
        source: A `Source`.
        filename: String.

    Returns:
        A `pathlib.Path`, or `None` if it is not there.
    """
    check_time_outs()
    import huggingface_hub

    path = huggingface_hub.try_to_load_from_cache(
        source.repo_id,
        "/".join(part for part in (source.subfolder, filename) if part),
        revision=source.revision,
    )
    return pathlib.Path(path) if isinstance(path, str) else None


def _snapshot(source, path):
    # The path is models--owner--repo/snapshots/<commit>/<subfolder>/<file>.
    depth = len(source.subfolder.split("/")) if source.subfolder else 0
    return path.parents[depth]


def _is_in_cache(path):
    # Where the link itself is, not its target.
    return holds(resolve(path.parent))


def _git_names(file):
    """Returns Git's hash of a file, and the plain one that mirrors may use."""
    size = os.fstat(file.fileno()).st_size
    # Not for security, so that Pythons with a restricted SHA-1 allow it.
    plain = hashlib.sha1(usedforsecurity=False)
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    while piece := file.read(_PIECE):
        plain.update(piece)
        digest.update(piece)
    return digest.hexdigest(), plain.hexdigest()
