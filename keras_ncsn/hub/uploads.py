"""Presets go to the Hub."""

from keras_ncsn.files import read_regular
from keras_ncsn.hub import LIBRARY
from keras_ncsn.hub.addresses import Source, check_place
from keras_ncsn.hub.answers import checking_answers
from keras_ncsn.hub.downloads import ask_commit, fetch
from keras_ncsn.hub.errors import translating
from keras_ncsn.hub.patience import ending_silence, patiently
from keras_ncsn.hub.tokens import said


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
    api = huggingface_hub.HfApi(token=token, library_name=LIBRARY)
    source = Source(repo_id, "", revision)
    with translating(source, "the token", sending=True), checking_answers():
        if constants.HF_HUB_OFFLINE:
            raise errors.OfflineModeIsEnabled
        patiently(api.whoami)


def read_text(repo_id, filename, max_bytes, revision=None, token=None):
    """Returns the text of a file on the Hub as it is now, before it is sent.

    Args:
        repo_id: String, `"owner/repo"`.
        filename: String.
        max_bytes: Integer, the size of the file at most.
        revision: As in `push`.
        token: As in `push`.

    Returns:
        A string, `None` where there is none that the token may see.
    """
    source = Source(repo_id, "", revision)
    with translating(source, filename, sending=True):
        # Asked first: the client would show what is cached if it cannot, and
        # note the commit, of which the cache has this file alone.
        commit = _find_commit(source, filename, token)
        if commit is None:
            return None
        path = fetch(source, filename, commit, token, max_bytes)
        content = read_regular(path, max_bytes)
    # One that is of other characters was written by a person, and is kept.
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
    # A new branch begins as the main one.
    return _find_commit(source._replace(revision=None), filename, token)
