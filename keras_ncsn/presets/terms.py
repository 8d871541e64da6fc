"""Licence terms that what is made of presets or data must keep."""

from keras_ncsn.text import one_line

# What the metadata say of the licence.
LICENSE = ("license", "license_name", "license_link")


def common_terms(*known):
    """Returns the licence that what is made of several presets must keep.

    That is one with a name of its own, as data have which are not free.

    Args:
        *known: Dictionaries, the metadata of each.

    Returns:
        A dictionary of metadata, empty where no licence has such a name. A
        `ValueError` says if two have different ones.

    Example:

    >>> own = {"license": "other", "license_name": "research-only"}
    >>> common_terms({"license": "apache-2.0"}, own) == own
    True
    """
    kept = [
        {"license": "other"}
        | {name: each[name] for name in LICENSE if each.get(name) is not None}
        for each in known
        if each.get("license_name") is not None
    ]
    if any(each != kept[0] for each in kept):
        raise ValueError(
            "What is made of several presets or data must keep the terms of "
            f"one licence. Received: {one_line(', '.join(map(str, kept)))}"
        )
    return kept[0] if kept else {}


def keep_terms(terms, metadata):
    """Returns the metadata of what is made of a preset.

    Args:
        terms: Dictionary, what `common_terms` says of the preset.
        metadata: Dictionary, of what is made of it.

    Returns:
        A dictionary, `metadata` with the terms. A `ValueError` says if they
        name other ones.

    Example:

    >>> own = {"license": "other", "license_name": "research-only"}
    >>> keep_terms(own, {"steps": 3}) == own | {"steps": 3}
    True
    """
    other = {
        name: metadata[name]
        for name, value in terms.items()
        if metadata.get(name) not in (None, value)
    }
    if other:
        raise ValueError(
            "What is made of a preset must keep the terms of its licence, "
            f"{one_line(terms)}. Received: {one_line(other)}. Leave these out "
            "of `metadata`."
        )
    return metadata | terms
