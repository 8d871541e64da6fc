"""Sentences about what goes wrong with a Hub, each with its exception."""

SENTENCES = {
    "offline": (
        FileNotFoundError,
        "{source} is not in the cache, and the Hub may not be asked while "
        "HF_HUB_OFFLINE is set. Unset it once to fetch the preset.",
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
        "The repository must exist and be yours to use. Received: {source}. "
        "Check the name; if it is private, pass `token` or set HF_TOKEN. One "
        "that has expired or was revoked opens nothing, not even what is "
        "public.",
    ),
    "missing": (
        ValueError,
        "The repository and the revision must exist. Received: {source}, of "
        "which the Hub has no {filename} (404). Check the name and the "
        "revision, and HF_ENDPOINT if it is set.",
    ),
    "token": (
        ValueError,
        "`token`, or HF_TOKEN, must be letters, digits and '_' in one line, "
        "as the Hub shows it. Received for {source}: something else. Correct "
        "it, or leave it out for what is public.",
    ),
    "forbidden": (
        PermissionError,
        "The Hub refuses access to {source} (403). Pass a `token` that may do "
        "this, or set HF_TOKEN.",
    ),
    "requests": (
        OSError,
        "The Hub has had too many requests from here (429), the last for "
        "{source}. Wait {wait} and try again.",
    ),
    "status": (
        OSError,
        "The Hub answered {status}{reason} for {filename} of {source}. Try "
        "again later.",
    ),
    "answer": (
        OSError,
        "The Hub must answer what the client understands. Received for "
        "{filename} of {source}:{reason}. Try again later, or upgrade: pip "
        "install --upgrade huggingface-hub",
    ),
    "size": (
        OSError,
        "{filename} of {source} must be of the size that is stated for it, or "
        "smaller. Received:{reason}. Try again later, or tell who published "
        "it.",
    ),
    "silence": (
        TimeoutError,
        "The Hub did not answer in time (of {patience:g} seconds, or the "
        "client's own) about {filename} of {source}. Check the connection, or "
        "try again later.",
    ),
    "connection": (
        ConnectionError,
        "{filename} of {source} could not be exchanged with the Hub ({kind}). "
        "Check the connection and try again.",
    ),
}
# Where files go up, and the repository need not be there before.
SENDING = {
    "offline": (
        OSError,
        "The Hub must be asked before files go up to {source}, and may not be "
        "while HF_HUB_OFFLINE is set. Unset it to push.",
    ),
    "repository": (
        PermissionError,
        "The Hub must know who sends files to {source}, and that they may. "
        "Received: none, or a token that is wrong, has expired or was revoked "
        "(401). Check the name, and pass `token` or set HF_TOKEN to one that "
        "may write there.",
    ),
    # Of what the Hub lists there, not of the repository.
    "missing": SENTENCES["status"],
    "forbidden": (
        PermissionError,
        "The Hub does not let this token write to {source} (403){reason}. "
        "Pass a `token` that may, or set HF_TOKEN.",
    ),
    "conflict": (
        OSError,
        "{source} must not change while files go up. The Hub answered "
        "{status}, because someone else did so. Try again.",
    ),
    "card": (
        ValueError,
        "The card README.md must have front matter that the Hub takes. "
        "Received:{reason}. Correct the card, and try again.",
    ),
}
