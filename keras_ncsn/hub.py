"""The Hugging Face Hub: presets come from there, and go there.

`huggingface_hub` does the work, and is imported when it is needed. Around it:
one sentence for each way it can fail, and an end to waiting for a server that
says nothing.
"""

import pathlib
import re
import time
import warnings
from typing import NamedTuple

from keras_ncsn import hub_cache
from keras_ncsn.hub_answers import check_name, checking_answers
from keras_ncsn.hub_errors import check_time_outs, translated, translating
from keras_ncsn.hub_patience import ending_silence, obligingly, patiently

PREFIX = "hf://"

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
# As `huggingface_hub` has it, of the owner and of the repository alike.
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_HOW = "hf://owner/repo, hf://owner/repo/subfolder or hf://owner/repo@revision"


class Source(NamedTuple):
    """A place on the Hub.

    Attributes:
        repo_id: String, `"owner/repo"`.
        subfolder: String, with `/` between folders, or empty.
        revision: String, a branch, tag or commit, or `None` for the main
            branch.
    """

    repo_id: str
    subfolder: str
    revision: str | None

    def __str__(self):
        place = "/".join(part for part in self[:2] if part)
        revision = f"@{self.revision}" if self.revision else ""
        return f"{PREFIX}{place}{revision}"


def parse(address, revision=None):
    """Returns the place that an address names.

    Args:
        address: String, `"hf://owner/repo[/subfolder][@revision]"`.
        revision: String, in place of the address's. Defaults to `None`.

    Returns:
        A `Source`.

    Example:

    >>> parse("hf://keras-ncsn/zoo/mnist@v1")
    Source(repo_id='keras-ncsn/zoo', subfolder='mnist', revision='v1')
    """
    place, _, said = address.removeprefix(PREFIX).partition("@")
    owner, *rest = place.split("/")
    check_repo_id("/".join([owner, *rest[:1]]))
    if revision and said and revision != said:
        raise ValueError(
            "`revision` must not contradict the address. Received: "
            f"revision={revision!r} and {address!r}"
        )
    revision = revision or said or None
    if any(not _is_safe(part) for part in rest[1:]):
        raise ValueError(
            f"An address must be {_HOW}, and stay within the repository. "
            f"Received: {address!r}"
        )
    _check_revision(revision)
    return Source(f"{owner}/{rest[0]}", "/".join(rest[1:]), revision)


def check_repo_id(repo_id):
    """Raises a `ValueError` unless a string names a repository.

    Args:
        repo_id: String, to be `"owner/repo"`.
    """
    name = str(repo_id)
    parts = name.split("/")
    if (
        len(parts) != 2
        or not all(_NAME.fullmatch(part) for part in parts)
        or any(odd in name for odd in ("--", ".."))
        or name.endswith(".git")
    ):
        raise ValueError(
            "A repository must be named owner/repo, each in up to 96 letters, "
            "digits, '.', '_' and '-', without '--', '..', '.git' at the end, "
            f"or '.' or '-' at either end. Received: {repo_id!r}"
        )


def check_place(repo_id, revision=None):
    """Raises a `ValueError` unless files could go to a place of this name.

    Args:
        repo_id: As in `push`.
        revision: As in `push`.
    """
    check_repo_id(repo_id)
    _check_revision(revision)
    check_time_outs()


class Download:
    """Files of one commit of a repository, through the Hub's cache.

    What is cached is used where the Hub cannot be asked, with a warning but
    for `HF_HUB_OFFLINE`.

    Args:
        source: A `Source`.
        filename: String, a file that must be there.
        token: String or `None`, as of `huggingface_hub`.
    """

    def __init__(self, source, filename, token=None):
        check_time_outs()
        self.source = source
        self.token = token
        self.commit = self._find_commit(filename)

    def get(self, filename):
        """Returns the path of a file in the cache.

        Args:
            filename: String, its name in the subfolder of the source.

        Returns:
            A `pathlib.Path`.
        """
        import huggingface_hub

        with (
            translating(self.source, filename),
            ending_silence(),
            checking_answers(),
        ):
            path = obligingly(
                lambda: huggingface_hub.hf_hub_download(
                    self.source.repo_id,
                    filename,
                    subfolder=self.source.subfolder or None,
                    revision=self.commit,
                    token=self.token,
                    library_name="keras-ncsn",
                )
            )
        return pathlib.Path(path)

    def remember(self, filename):
        """Lets the cache take this commit for that of the revision.

        For when all that is needed of it is there: until then the cache has
        the commit before, which offline mode uses.

        Args:
            filename: String, a file that `get` returned.
        """
        path = self.get(filename)
        if hub_cache.cached_path(self.source, filename) != path:
            hub_cache.remember(self.source, path)

    def _find_commit(self, filename):
        from huggingface_hub import errors

        started = time.monotonic()
        with translating(self.source, filename):
            try:
                # The client would hide why it cannot reach the Hub.
                return self._ask(filename, started)
            except (
                errors.RevisionNotFoundError,
                errors.RemoteEntryNotFoundError,
            ):
                raise
            except Exception as error:
                if hub_cache.is_cached(self.source, filename):
                    self._warn(error, filename)
                    path = hub_cache.cached_path(self.source, filename)
                    return hub_cache.commit_of(self.source, path)
                if not _may_pass(error):
                    raise
                try:
                    return self._ask(filename, started, retry_on_errors=True)
                except TimeoutError:
                    raise error from None

    def _ask(self, filename, started, **kwargs):
        return _ask_commit(self.source, filename, self.token, started, **kwargs)

    def _warn(self, error, filename):
        from huggingface_hub import errors

        if isinstance(error, errors.OfflineModeIsEnabled):
            return
        warnings.warn(
            f"Using the copy of {self.source} in the cache, because the Hub "
            f"could not be asked: {translated(error, self.source, filename)}",
            stacklevel=2,
        )


def push(
    files,
    repo_id,
    message,
    private=False,
    revision=None,
    create_pr=False,
    token=None,
):
    """Uploads files in one commit; the repository is made if there is none.

    Args:
        files: Dictionary from names in the repository to paths.
        repo_id: String, `"owner/repo"`.
        message: String, the summary of the commit.
        private: Boolean, whether a new repository is private. Defaults to
            `False`.
        revision: String, the branch, which is made if there is none. Defaults
            to `None`, the main branch.
        create_pr: Boolean, whether to propose the commit rather than make it.
            Defaults to `False`.
        token: String. Defaults to `None`, that of the environment or of
            `hf auth login`.

    Returns:
        String, the address of the commit or of the proposal.
    """
    import huggingface_hub

    check_place(repo_id, revision)
    source = Source(repo_id, "", revision)
    api = huggingface_hub.HfApi(token=token, library_name="keras-ncsn")
    with translating(source, "the files", sending=True), ending_silence():
        patiently(
            lambda: api.create_repo(repo_id, private=private, exist_ok=True)
        )
        if revision is not None and not create_pr:
            patiently(
                lambda: api.create_branch(
                    repo_id, branch=revision, exist_ok=True
                )
            )
        commit = api.create_commit(
            repo_id,
            [
                huggingface_hub.CommitOperationAdd(name, str(path))
                for name, path in files.items()
            ],
            commit_message=message,
            revision=revision,
            create_pr=create_pr,
        )
    return commit.pr_url or commit.commit_url


def check_sender(repo_id, revision=None, token=None):
    """Raises an exception if the Hub does not know who would send files.

    Args:
        repo_id: As in `push`.
        revision: As in `push`.
        token: As in `push`.
    """
    import huggingface_hub
    from huggingface_hub import constants, errors

    check_place(repo_id, revision)
    api = huggingface_hub.HfApi(token=token, library_name="keras-ncsn")
    source = Source(repo_id, "", revision)
    with translating(source, "the token", sending=True):
        if constants.HF_HUB_OFFLINE:
            raise errors.OfflineModeIsEnabled
        patiently(api.whoami)


def read_text(repo_id, filename, revision=None, token=None):
    """Returns the text of a file on the Hub as it is now, before it is sent.

    Args:
        repo_id: String, `"owner/repo"`.
        filename: String.
        revision: As in `push`.
        token: As in `push`.

    Returns:
        A string, `None` where there is none that the token may see.
    """
    import huggingface_hub
    from huggingface_hub import errors

    source = Source(repo_id, "", revision)
    with translating(source, filename, sending=True):
        try:
            # Asked first: the client would show what is cached if it cannot,
            # and note the commit, of which the cache has this file alone.
            commit = _ask_commit(source, filename, token)
        except errors.RevisionNotFoundError:
            if revision is None:
                return None
            # A new branch begins as the main one.
            return read_text(repo_id, filename, None, token)
        except (
            errors.RemoteEntryNotFoundError,
            errors.RepositoryNotFoundError,
        ):
            return None
        with ending_silence(), checking_answers():
            path = huggingface_hub.hf_hub_download(
                repo_id, filename, revision=commit, token=token
            )
    # One that is of other characters was written by a person, and is kept.
    return pathlib.Path(path).read_text(encoding="utf-8", errors="replace")


def _ask_commit(source, filename, token, started=None, **kwargs):
    """Returns the commit that a file is of now."""
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
                url, token=token, **kwargs
            ),
            started,
        )
    if metadata.commit_hash is None:
        raise ValueError(
            "no header X-Repo-Commit, so that it may be something else "
            "than a Hub; check HF_ENDPOINT if it is set"
        )
    check_name("X-Repo-Commit", metadata.commit_hash)
    return metadata.commit_hash


def _may_pass(error):
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return status in (408, 429) or status >= 500
    return not isinstance(error, (OSError, ValueError, TimeoutError))


def _is_safe(part):
    return bool(_PART.fullmatch(part)) and ".." not in part


def _check_revision(revision):
    if revision is None:
        return
    if (
        not isinstance(revision, str)
        or not _REVISION.fullmatch(revision)
        or ".." in revision
    ):
        raise ValueError(
            "A revision must be a branch, a tag or a commit. Received: "
            f"revision={revision!r}"
        )
