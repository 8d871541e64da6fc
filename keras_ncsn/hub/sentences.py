"""What can go wrong with a Hub: a sentence and an exception for each case."""

# Downloads.
SENTENCES: dict[str, tuple[type[Exception], str]] = {
    "offline": (
        FileNotFoundError,
        "{source} is not in the cache, and the Hub may not be asked while "
        "HF_HUB_OFFLINE is set. Unset it once to download the preset.",
    ),
    "revision": (
        ValueError,
        "The repository must have the revision. Received: {source}, which has "
        "no such branch, tag or commit",
    ),
    "entry": (
        ValueError,
        "The repository must hold a preset. Received: {source}, which has no "
        "{filename}",
    ),
    "gated": (
        PermissionError,
        "{source} is for people who accepted its terms. Accept them on its "
        "page on the Hub, and pass `token` or set HF_TOKEN.",
    ),
    "repository": (
        ValueError,
        "The repository must exist, and you must have access. Received: "
        "{source}. Check the name; if it is private, pass `token` or set "
        "HF_TOKEN. A token that has expired or was revoked gives no access, "
        "even to public repositories.",
    ),
    "missing": (
        ValueError,
        "The repository and the revision must exist. Received: {source}, for "
        "which the Hub has no {filename} (404). Check the name and the "
        "revision, and HF_ENDPOINT if it is set.",
    ),
    "token": (
        ValueError,
        "`token`, or HF_TOKEN, must be letters, digits and '_' in one line, "
        "as the Hub shows it. Received for {source}: something else. Correct "
        "it, or leave it out for a public repository.",
    ),
    "forbidden": (
        PermissionError,
        "The Hub refuses access to {source} (403). Pass a `token` that has "
        "access, or set HF_TOKEN.",
    ),
    "requests": (
        OSError,
        "The Hub has received too many requests from here (429), the last for "
        "{source}. Wait {wait} and try again.",
    ),
    "status": (
        OSError,
        "The Hub answered {status}{reason} for {filename} of {source}. Try "
        "again later.",
    ),
    "answer": (
        OSError,
        "The Hub must give an answer that the client understands. Received for "
        "{filename} of {source}:{reason}. Try again later, or upgrade: pip "
        "install --upgrade huggingface-hub",
    ),
    "size": (
        OSError,
        "{filename} of {source} must not be larger than its stated size. "
        "Received:{reason}. Try again later, or tell the publisher.",
    ),
    "silence": (
        TimeoutError,
        "The Hub did not answer in time (within {patience:g} seconds, or the "
        "client's own limit) about {filename} of {source}. Check the "
        "connection, or try again later.",
    ),
    "connection": (
        ConnectionError,
        "The connection to the Hub failed for {filename} of {source} ({kind}). "
        "Check the connection and try again.",
    ),
}
# Uploads, for which the repository need not exist yet.
SENDING: dict[str, tuple[type[Exception], str]] = {
    "offline": (
        OSError,
        "The Hub must be asked before files are uploaded to {source}, which "
        "HF_HUB_OFFLINE forbids. Unset it to push.",
    ),
    "repository": (
        PermissionError,
        "An upload to {source} must have a token that may write there. "
        "Received: none, or one that is wrong, has expired or was revoked "
        "(401). Check the name, and pass `token` or set HF_TOKEN.",
    ),
    # It is a file that is missing, not the repository.
    "missing": SENTENCES["status"],
    "forbidden": (
        PermissionError,
        "The Hub does not let this token write to {source} (403){reason}. "
        "Pass a `token` that may, or set HF_TOKEN.",
    ),
    "conflict": (
        OSError,
        "{source} must not change during an upload. The Hub answered {status}, "
        "because someone else changed it. Try again.",
    ),
    "card": (
        ValueError,
        "The card README.md must have front matter that the Hub accepts. "
        "Received:{reason}. Correct the card, and try again.",
    ),
}
