"""Presets go to the Hub."""

import pathlib

from keras_ncsn.hub.addresses import Source, check_place
from keras_ncsn.hub.answers import checking_answers
from keras_ncsn.hub.downloads import ask_commit
from keras_ncsn.hub.errors import translating
from keras_ncsn.hub.patience import ending_silence, patiently


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
            commit = ask_commit(source, filename, token)
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
