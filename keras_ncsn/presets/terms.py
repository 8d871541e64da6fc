"""Licence terms that pass from presets and data to what is made from them."""

from collections.abc import Mapping
from typing import Any

from keras_ncsn.text import one_line

# The metadata about the licence.
LICENSE = ("license", "license_name", "license_link")


def common_terms(*known: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the licence that a result of several presets must keep.

    Only a licence with a name of its own must be kept, such as that of data
    that are not free.

    Args:
        *known: Dictionaries, the metadata of each preset or data set.

    Returns:
        A dictionary of metadata, empty if no licence has a name of its own. A
        `ValueError` is raised if two licences differ.

    Example:

    >>> own = {"license": "other", "license_name": "research-only"}
    >>> common_terms({"license": "apache-2.0"}, own) == own
    True
    """
    for each in known:
        for name in LICENSE:
            if not isinstance(each.get(name), (str, type(None))):
                raise ValueError(
                    f"`{name}` in the metadata must be a string. Received: "
                    f"{type(each[name]).__name__}"
                )
    kept = [
        {"license": "other"}
        | {name: each[name] for name in LICENSE if each.get(name) is not None}
        for each in known
        if each.get("license_name") is not None
    ]
    if any(each != kept[0] for each in kept):
        raise ValueError(
            "Presets and data that are used together must have the same terms "
            f"of licence. Received: {one_line(', '.join(map(str, kept)))}"
        )
    return kept[0] if kept else {}


def keep_terms(
    terms: Mapping[str, Any], metadata: dict[str, Any]
) -> dict[str, Any]:
    """Adds the licence terms of a preset to the metadata of its result.

    Args:
        terms: Dictionary, as `common_terms` returns it.
        metadata: Dictionary, the metadata of what is made from the preset.

    Returns:
        A dictionary, `metadata` with the terms. A `ValueError` is raised if
        `metadata` names other terms.

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
            "What is made from a preset must keep the terms of its licence, "
            f"{one_line(terms)}. Received: {one_line(other)}. Leave these out "
            "of `metadata`."
        )
    return metadata | dict(terms)
