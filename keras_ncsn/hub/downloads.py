"""Downloads from the Hub."""

import pathlib
import time
import warnings
from typing import Any

from keras_ncsn.hub import LIBRARY, cache
from keras_ncsn.hub.addresses import Source
from keras_ncsn.hub.answers import check_name, checking_answers
from keras_ncsn.hub.errors import check_time_outs, translated, translating
from keras_ncsn.hub.patience import ending_silence, obligingly, patiently
from keras_ncsn.hub.sizes import Size


class Download:
    """Files of one commit of a repository, through the Hub's cache.

    If the Hub cannot be asked, the cached commit is used, with a warning unless
    `HF_HUB_OFFLINE` is set.

    Args:
        source: A `Source`.
        filename: String, a file that must be there.
        token: String or `None`, as in `huggingface_hub`.
    """

    def __init__(
        self, source: Source, filename: str, token: str | None = None
    ) -> None:
        check_time_outs()
        self.source = source
        self.token = token
        self.commit = self._find_commit(filename)

    def get(self, filename: str, max_bytes: int | None = None) -> pathlib.Path:
        """Returns the path of a file in the cache, downloaded if need be.

        Args:
            filename: String, its name in the subfolder of the source.
            max_bytes: Integer, the largest size. A larger file is refused,
                before the download or in the middle of it. Defaults to `None`:
                the size that the Hub states.

        Returns:
            A `pathlib.Path`.
        """
        with translating(self.source, filename):
            path = obligingly(
                lambda: fetch(
                    self.source, filename, self.commit, self.token, max_bytes
                )
            )
        cache.check_kind(path)
        return path

    def remember(self, filename: str) -> None:
        """Makes the revision in the cache point to this commit.

        Call it when all needed files are there. Until then, offline mode uses
        the previous commit.

        Args:
            filename: String, a file that `get` returned.
        """
        path = self.get(filename)
        if cache.cached_path(self.source, filename) != path:
            cache.remember(self.source, path)

    def _find_commit(self, filename):
        from huggingface_hub import errors

        started = time.monotonic()
        with translating(self.source, filename):
            try:
                # The client itself would hide why it cannot reach the Hub.
                return self._ask(filename, started)
            except (
                errors.RevisionNotFoundError,
                errors.RemoteEntryNotFoundError,
            ):
                raise
            except Exception as error:
                path = cache.cached_path(self.source, filename)
                if path is not None:
                    self._warn(error, filename)
                    return cache.commit_of(self.source, path)
                if not _may_pass(error):
                    raise
                try:
                    return self._ask(filename, started, retry_on_errors=True)
                except TimeoutError:
                    raise error from None

    def _ask(self, filename, started, **kwargs):
        return ask_commit(self.source, filename, self.token, started, **kwargs)

    def _warn(self, error, filename):
        from huggingface_hub import errors

        if isinstance(error, errors.OfflineModeIsEnabled):
            return
        warnings.warn(
            f"Using the copy of {self.source} in the cache, because the Hub "
            f"could not be asked: {translated(error, self.source, filename)}",
            stacklevel=2,
        )


def fetch(
    source: Source,
    filename: str,
    commit: str,
    token: str | None = None,
    max_bytes: int | None = None,
) -> pathlib.Path:
    """Downloads a file to the cache, unless it is there, and returns its path.

    Args:
        source: A `Source`.
        filename: String, its name in the subfolder of the source.
        commit: String.
        token: As in `Download`.
        max_bytes: As in `Download.get`.

    Returns:
        A `pathlib.Path`. Exceptions are those of the client.
    """
    import huggingface_hub

    with ending_silence(), checking_answers(Size(filename, max_bytes)):
        path = huggingface_hub.hf_hub_download(
            source.repo_id,
            filename,
            subfolder=source.subfolder or None,
            revision=commit,
            token=token,
            library_name=LIBRARY,
        )
    return pathlib.Path(path)


def ask_commit(
    source: Source,
    filename: str,
    token: str | None,
    started: float | None = None,
    **kwargs: Any,
) -> str:
    """Returns the commit of a file that is current on the Hub.

    Args:
        source: A `Source`.
        filename: String, its name in the subfolder of the source.
        token: As in `Download`.
        started: As in `patiently`.
        **kwargs: Further arguments of the client.

    Returns:
        String. Exceptions are those of the client.
    """
    import huggingface_hub

    url = huggingface_hub.hf_hub_url(
        source.repo_id,
        filename,
        subfolder=source.subfolder or None,
        revision=source.revision,
    )
    with checking_answers():
        metadata = patiently(
            lambda: huggingface_hub.get_hf_file_metadata(
                url, token=token, library_name=LIBRARY, **kwargs
            ),
            started,
        )
    if metadata.commit_hash is None:
        raise ValueError(
            "no header X-Repo-Commit, so it may not be a Hub; check "
            "HF_ENDPOINT if it is set"
        )
    check_name("X-Repo-Commit", metadata.commit_hash)
    return metadata.commit_hash


def _may_pass(error):
    # Whether another try may succeed.
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return status in (408, 429) or status >= 500
    return not isinstance(error, (OSError, ValueError, TimeoutError))
