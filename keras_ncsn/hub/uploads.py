"""Uploads to the Hub."""

from collections.abc import Mapping

from keras_ncsn.annotations import StrPath
from keras_ncsn.files import read_regular
from keras_ncsn.hub import LIBRARY
from keras_ncsn.hub.addresses import Source, check_place
from keras_ncsn.hub.answers import checking_answers
from keras_ncsn.hub.downloads import ask_commit, fetch
from keras_ncsn.hub.errors import translating
from keras_ncsn.hub.patience import ending_silence, patiently
from keras_ncsn.hub.tokens import said


def push(
    files: Mapping[str, StrPath],
    repo_id: str,
    message: str,
    private: bool = False,
    revision: str | None = None,
    create_pr: bool = False,
    token: str | None = None,
) -> str:
    """Uploads files in one commit, and creates the repository if need be.

    Args:
        files: Dictionary from names in the repository to paths.
        repo_id: String, `"owner/repo"`.
        message: String, the summary of the commit.
        private: Boolean, whether a new repository is private. Defaults to
            `False`.
        revision: String, the branch, which is created if need be. Defaults to
            `None`, the main branch.
        create_pr: Boolean, whether to open a pull request instead of adding
            the commit to the branch. Defaults to `False`.
        token: String. Defaults to `None`, the token of the environment or of
            `hf auth login`.

    Returns:
        String, the address of the commit or of the pull request.
    """
    import huggingface_hub

    check_place(repo_id, revision)
    source = Source(repo_id, "", revision)
    api = huggingface_hub.HfApi(token=token, library_name=LIBRARY)
    with (
        translating(source, "the files", sending=True),
        ending_silence(),
        checking_answers(),
    ):
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
        return said(commit.pr_url or commit.commit_url)


def check_sender(
    repo_id: str, revision: str | None = None, token: str | None = None
) -> None:
    """Raises an exception unless the Hub knows the owner of the token.

    Args:
        repo_id: As in `push`.
        revision: As in `push`.
        token: As in `push`.
    """
    import huggingface_hub
    from huggingface_hub import constants, errors

    check_place(repo_id, revision)
    api = huggingface_hub.HfApi(token=token, library_name=LIBRARY)
    source = Source(repo_id, "", revision)
    with translating(source, "the token", sending=True), checking_answers():
        if constants.HF_HUB_OFFLINE:
            raise errors.OfflineModeIsEnabled
        patiently(api.whoami)


def read_text(
    repo_id: str,
    filename: str,
    max_bytes: int,
    revision: str | None = None,
    token: str | None = None,
) -> str | None:
    """Returns the current text of a file on the Hub, before an upload.

    Args:
        repo_id: String, `"owner/repo"`.
        filename: String.
        max_bytes: Integer, the largest size of the file.
        revision: As in `push`.
        token: As in `push`.

    Returns:
        A string, or `None` if there is no such file that the token may read.
    """
    source = Source(repo_id, "", revision)
    with translating(source, filename, sending=True):
        # The commit is asked for first. Without it, the client would return a
        # cached file if it cannot reach the Hub, and would note the commit in
        # the cache, which only has this file of it.
        commit = _find_commit(source, filename, token)
        if commit is None:
            return None
        path = fetch(source, filename, commit, token, max_bytes)
        content = read_regular(path, max_bytes)
    # A card that is not UTF-8 was written by a person, and is kept.
    return content.decode("utf-8", errors="replace")


def _find_commit(source, filename, token):
    from huggingface_hub import errors

    try:
        return ask_commit(source, filename, token)
    except errors.RevisionNotFoundError:
        if source.revision is None:
            return None
    except (errors.RemoteEntryNotFoundError, errors.RepositoryNotFoundError):
        return None
    # A new branch begins as a copy of the main one.
    return _find_commit(source._replace(revision=None), filename, token)
