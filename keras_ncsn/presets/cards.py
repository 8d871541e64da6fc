"""Model cards: made from a preset's metadata, and marked for upload.

An uploaded card ends with a mark, a comment with the SHA-256 of the text before
it. If the mark of a card on the Hub does not match, someone edited it there.

Metadata may come from someone else, and must not inject anything. In the front
matter, values are JSON or match a strict pattern; in the text, they are escaped
for Markdown and HTML.
"""

import hashlib
import html
import json
import re
from typing import Any

from keras_ncsn.conditions import Vectors
from keras_ncsn.text import one_line

# Made by this package, or copied from a person's card in the preset's folder.
MADE, COPIED = "card", "copy"

_MARK = re.compile(r"\n<!-- keras-ncsn (card|copy) ([0-9a-f]{64}) -->\s*\Z")
_LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")
_LINK = re.compile(r"https?://[!-~]+")
# These begin a link, a picture, code or a cell, or turn an address into a link.
_MARKDOWN = re.compile(r"[\\`\[|@]|:(?=//)|(?<=www)\.", re.IGNORECASE)
# Longer than any that this package writes.
_MAX_LENGTH = 10_000


def make(
    metadata: dict[str, Any],
    model: Any,
    repo_id: str,
    picture: str | None = None,
    drawn: bool = True,
) -> str:
    """Returns a model card, in Markdown.

    Args:
        metadata: Dictionary, the metadata of the preset.
        model: The `NCSNModel` of the preset.
        repo_id: String, `"owner/repo"`, the repository of the card.
        picture: String, the file name of a picture of samples. Defaults to
            `None`.
        drawn: Boolean, whether the picture was drawn for this card, and not
            added by a person. Defaults to `True`.

    Returns:
        A string, which ends with its mark.
    """
    shape = "x".join(str(side) for side in model.image_shape)
    kind = "images" if len(model.image_shape) == 3 else "points"
    guide = ""
    if model.guide is not None and model.guide.network is not None:
        guide = f", and a guide of {model.guide.count_params():,}"
    lines = [
        "---",
        *_front_matter(metadata),
        "---",
        "",
        f"# {repo_id.split('/')[1]}",
        "",
        f"A score network ({type(model.network).__name__}, "
        f"{model.network.count_params():,} parameters{guide}) that "
        f"generates and completes {shape} {kind}, for keras-ncsn "
        "(`pip install keras-ncsn`) on TensorFlow, JAX or PyTorch.",
        "",
        "```python",
        "import keras_ncsn",
        "",
        f'model = keras_ncsn.NCSNModel.from_preset("hf://{repo_id}")',
        f"{kind} = model.generate(16, seed=0{_condition(model.condition)})",
        "```",
        "",
    ]
    if picture is not None and not drawn:
        lines += [f"![Samples]({picture})", ""]
    elif picture is not None:
        lines += [
            f"![Samples, seed 0, not selected]({picture})",
            "",
            f"Sampled by `{model.sampler}`, not selected.",
            "",
        ]
    lines += ["## Training", "", *_training(metadata, model.class_names), ""]
    lines += [
        "## Limits",
        "",
        f"The model only knows {kind} like those it was trained on, of shape "
        f"{shape}, and may repeat their biases. Look at the samples before you "
        "rely on it.",
        "",
    ]
    return mark("\n".join(lines), MADE)


def mark(text: str, origin: str) -> str:
    """Returns a card with its mark.

    Args:
        text: String, the card. An old mark is replaced.
        origin: `MADE` or `COPIED`.

    Returns:
        A string.
    """
    text = _MARK.sub("", text)
    return f"{text}\n<!-- keras-ncsn {origin} {_digest(text)} -->\n"


def origin(text: str) -> str | None:
    """Returns where a card comes from, as its mark says.

    Args:
        text: String, the card.

    Returns:
        `MADE`, `COPIED`, or `None` if a person wrote the card, or changed it
        after it was marked.
    """
    found = _MARK.search(text)
    if found is None or found[2] != _digest(text[: found.start()]):
        return None
    return found[1]


def _condition(condition):
    """Returns the argument of `generate` that says what to draw, as code."""
    if condition is None:
        return ""
    if isinstance(condition, Vectors):
        return f", conditions=[0.0] * {condition.size}"
    name = condition.names[0]
    label = name if one_line(name) == name else 0
    # In JSON's quotes, which are Python's too.
    return f", labels={json.dumps(label, ensure_ascii=False)}"


def _front_matter(metadata):
    yield "library_name: keras"
    yield from _licence(metadata)
    yield "pipeline_tag: unconditional-image-generation"
    yield "tags: [keras-ncsn, score-based, diffusion]"
    data = [
        name
        for name in _data(metadata)
        if isinstance(name, str) and re.fullmatch(r"[\w.-]+", name)
    ]
    if data:
        # Lists in JSON are YAML, whatever they hold.
        yield f"datasets: {_in_yaml(data)}"
    names = list(_metrics(metadata))
    if "validation_loss" in metadata:
        names.append("score-matching-loss")
    if names:
        yield f"metrics: {_in_yaml(names)}"


def _licence(metadata):
    known = "a name that the Hub knows, such as apache-2.0 or other"
    licence = _checked(metadata, "license", _LICENSE, known) or "other"
    # In quotes, because YAML takes some words for numbers, dates or nothing.
    yield f"license: {_in_yaml(licence)}"
    # The Hub expects these with `license: other`.
    word = "one word, such as research-only"
    name = _checked(metadata, "license_name", _LICENSE, word)
    if name is not None:
        if licence != "other":
            raise ValueError(
                "`license_name` in the metadata must go with license='other'. "
                f"Received: license={licence!r}, license_name={name!r}"
            )
        yield f"license_name: {_in_yaml(name)}"
    address = "an address, such as https://example.org/terms"
    link = _checked(metadata, "license_link", _LINK, address)
    if link is not None:
        yield f"license_link: {_in_yaml(link)}"


def _checked(metadata, name, pattern, wanted):
    """Returns a checked value of the metadata, or `None` if there is none."""
    value = metadata.get(name) or None
    if value is None or isinstance(value, str) and pattern.fullmatch(value):
        return value
    raise ValueError(
        f"`{name}` in the metadata must be {wanted}. Received: "
        f"{name}={_shown(value)}"
    )


def _data(metadata):
    data = metadata.get("data")
    return data if isinstance(data, list) else [data]


def _metrics(metadata):
    metrics = metadata.get("metrics") or {}
    if not isinstance(metrics, dict):
        raise ValueError(
            "`metrics` in the metadata must be a dictionary from names to "
            f"numbers. Received: metrics={_shown(metrics)}"
        )
    return metrics


def _training(metadata, class_names):
    if "command" in metadata:
        # Indented text is code, in which nothing needs to be escaped.
        yield f"    {_in_one_line(metadata['command'])}"
        yield ""
    facts = {
        "data": ", ".join(_text(x) for x in _data(metadata) if x is not None)
        or None,
        "classes": None if class_names is None else ", ".join(class_names),
        "steps": metadata.get("steps"),
        "batch size": metadata.get("batch_size"),
        "loss on held-out images": metadata.get("validation_loss"),
        **_metrics(metadata),
        "license": metadata.get("license_name") or metadata.get("license"),
        "keras-ncsn": metadata.get("keras_ncsn_version"),
        "Keras": metadata.get("keras_version"),
    }
    yield "| | |"
    yield "|---|---|"
    for name, value in facts.items():
        if value is not None:
            yield f"| {_as_it_is(name)} | {_as_it_is(value)} |"


def _as_it_is(value):
    """Returns Markdown that shows a value literally."""
    text = html.escape(_in_one_line(value), quote=False)
    return _MARKDOWN.sub(r"\\\g<0>", text)


def _in_one_line(value):
    return one_line(_text(value), _MAX_LENGTH)


def _shown(value):
    return one_line(_text(value, repr))


def _text(value, function=str):
    try:
        return function(value)
    except RecursionError:
        raise ValueError(
            "The metadata of a preset must be numbers, strings and lists of "
            "these. Received: lists that are nested too deeply to be shown. "
            "Correct the metadata."
        ) from None


def _in_yaml(value):
    # JSON is valid YAML, except for this character.
    return json.dumps(value).replace("\x7f", r"\u007f")


def _digest(text):
    return hashlib.sha256(text.strip().encode()).hexdigest()
