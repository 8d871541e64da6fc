"""The cache of the Hugging Face Hub's client, on this machine."""

import pathlib


def forget(folder, names):
    """Removes files from the Hub's cache, so that they are fetched anew.

    Args:
        folder: Path of a folder; files that are not in the cache stay.
        names: Iterable of names of files.
    """
    folder = pathlib.Path(folder).absolute()
    if not holds(folder.resolve()):
        return
    for name in names:
        path = folder / name
        blob = path.resolve()
        if holds(blob):
            path.unlink(missing_ok=True)
            blob.unlink(missing_ok=True)


def holds(path):
    """Returns whether a path is in the Hub's cache.

    Args:
        path: A `pathlib.Path`, resolved.

    Returns:
        Boolean.
    """
    from huggingface_hub import constants

    return path.is_relative_to(pathlib.Path(constants.HF_HUB_CACHE).resolve())


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
    import huggingface_hub

    path = huggingface_hub.try_to_load_from_cache(
        source.repo_id,
        "/".join(part for part in (source.subfolder, filename) if part),
        revision=source.revision,
    )
    return pathlib.Path(path) if isinstance(path, str) else None
