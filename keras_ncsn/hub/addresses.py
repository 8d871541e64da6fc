"""Addresses on the Hub, such as hf://owner/repo@revision."""

import re
from typing import NamedTuple

from keras_ncsn.hub.errors import check_time_outs

PREFIX = "hf://"

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
# The rule of `huggingface_hub`, for owners and repositories alike.
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

    def __str__(self) -> str:
        place = "/".join(part for part in self[:2] if part)
        revision = f"@{self.revision}" if self.revision else ""
        return f"{PREFIX}{place}{revision}"


def parse(address: str, revision: str | None = None) -> Source:
    """Returns the place that an address names.

    Args:
        address: String, `"hf://owner/repo[/subfolder][@revision]"`.
        revision: String, the revision if the address names none. Defaults to
            `None`.

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


def check_repo_id(repo_id: str) -> None:
    """Raises a `ValueError` unless a string names a repository.

    Args:
        repo_id: String, which should be `"owner/repo"`.
    """
    name = str(repo_id)
    parts = name.split("/")
    if (
        len(parts) != 2
        or not all(_NAME.fullmatch(part) for part in parts)
        or any(bad in name for bad in ("--", ".."))
        or name.endswith(".git")
    ):
        raise ValueError(
            "A repository must be named owner/repo, each in up to 96 letters, "
            "digits, '.', '_' and '-', without '--', '..', '.git' at the end, "
            f"or '.' or '-' at either end. Received: {repo_id!r}"
        )


def check_place(repo_id: str, revision: str | None = None) -> None:
    """Raises a `ValueError` unless files could be uploaded to such a place.

    Args:
        repo_id: As in `push`.
        revision: As in `push`.
    """
    check_repo_id(repo_id)
    _check_revision(revision)
    check_time_outs()


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
