"""The cache of the Hugging Face Hub's client, on this machine.

Of each commit it has a folder of links to blobs. A blob is named as the Hub
names it: by the hash of what it holds.
"""

import contextlib
import hashlib
import os
import pathlib

from keras_ncsn.files import open_regular, open_whole
from keras_ncsn.hub.errors import check_time_outs
from keras_ncsn.text import one_line

_PIECE = 2**20


def check(path):
    """Raises a `ValueError` if a file is not what the Hub has.

    The file is removed then, so that it is fetched anew. One whose hash is
    not known passes, as does one that is not in the cache.

    Args:
        path: A `pathlib.Path`.
    """
    if is_whole(path) is False:
        forget(path)
        raise ValueError(
            f"A file must be as the Hub has it. Received: {one_line(path)}, "
            "which was damaged on the way or on this disk, and is removed. Try "
            "again to fetch it anew."
        )


def is_whole(path):
    """Returns whether a file in the cache is what the Hub has.

    Args:
        path: A `pathlib.Path`.

    Returns:
        Boolean, `None` if it cannot be told: a mirror may name files in ways
        of its own, and where there are no links the names are lost.
    """
    if not (path.is_symlink() and path.is_file() and _is_in_cache(path)):
        return None
    # Not where it leads to in the end: a blob may be a link to one that other
    # repositories share, and that has another name.
    name = path.readlink().name
    if not set(name) <= set("0123456789abcdef") or len(name) not in (40, 64):
        return None
    with open_regular(path) as file:
        if len(name) == 64:
            return hashlib.file_digest(file, "sha256").hexdigest() == name
        return name in _git_names(file)


def check_kind(path):
    """Raises a `ValueError` unless a path in the cache is of a regular file.

    The client returns whatever lies there.

    Args:
        path: A `pathlib.Path`.
    """
    if not path.is_file():
        raise ValueError(
            "A file in the Hub's cache must be a regular file. Received: "
            f"{one_line(path)}, which is none. Remove it, to fetch it anew."
        )


def forget(path):
    """Removes a file from the cache, so that it is fetched anew.

    Args:
        path: A `pathlib.Path`; a file that is not in the cache stays.
    """
    blob = resolve(path)
    if _is_in_cache(path) and holds(blob):
        # A cache that cannot be written, as that of an image, stays as it is.
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            blob.unlink(missing_ok=True)


def distrust(path):
    """Removes a file from the cache unless it is known to be whole.

    For what is wrong in a way that damage could explain.

    Args:
        path: A `pathlib.Path`; a file that is not in the cache stays.
    """
    if not is_whole(path):
        forget(path)


def remember(source, path):
    """Lets the cache take the commit of a file for that of its revision.

    Args:
        source: A `Source`.
        path: A `pathlib.Path`, of a file of it in the cache.
    """
    snapshot = _snapshot(source, path)
    reference = snapshot.parents[1] / "refs" / (source.revision or "main")
    # A cache that cannot be written, as that of an image, is used as it is.
    with contextlib.suppress(OSError):
        reference.parent.mkdir(parents=True, exist_ok=True)
        with open_whole(reference) as file:
            file.write(snapshot.name.encode())


def commit_of(source, path):
    """Returns the commit that a file in the cache is of.

    Args:
        source: A `Source`.
        path: A `pathlib.Path`.

    Returns:
        String.
    """
    return _snapshot(source, path).name


def holds(path):
    """Returns whether a path is in the Hub's cache.

    Args:
        path: A `pathlib.Path`, resolved.

    Returns:
        Boolean.
    """
    from huggingface_hub import constants

    return path.is_relative_to(resolve(constants.HF_HUB_CACHE))


def resolve(path):
    """Returns where a path leads, through links, which may go in a circle.

    Args:
        path: Path.

    Returns:
        A `pathlib.Path`.
    """
    # The method of paths raises a `RuntimeError` for a circle.
    return pathlib.Path(os.path.realpath(path))


def is_cached(source, filename):
    """Returns whether a file is in the Hub's cache.

    Args:
        source: A `Source`.
        filename: String.

    Returns:
        Boolean.
    """
    return cached_path(source, filename) is not None


def cached_path(source, filename):
    """Returns where a file is in the Hub's cache.

    Args:
        source: A `Source`.
        filename: String.

    Returns:
        A `pathlib.Path`, `None` if it is not there.
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
    # Of models--owner--repo/snapshots/<commit>/<subfolder>/<file>.
    depth = len(source.subfolder.split("/")) if source.subfolder else 0
    return path.parents[depth]


def _is_in_cache(path):
    # Where it is, and not where it leads to.
    return holds(resolve(path.parent))


def _git_names(file):
    """Returns how Git names a file, and how a mirror may: without a header."""
    size = os.fstat(file.fileno()).st_size
    # For no secret: a Python that has no SHA-1 for those has this.
    plain = hashlib.sha1(usedforsecurity=False)
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    while piece := file.read(_PIECE):
        plain.update(piece)
        digest.update(piece)
    return digest.hexdigest(), plain.hexdigest()
