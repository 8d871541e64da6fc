"""Publishing presets on the Hub, with a card and a picture."""

import hashlib
import pathlib
import re
from typing import NamedTuple

from keras_ncsn import hub, presets
from keras_ncsn.images import save_grid

PICTURE_FILE = "samples.png"
NUM_PICTURED = 16

_SUFFIXES = {".json", ".h5", ".md", ".png", ".gif"}
_MARK = re.compile(r"\n<!-- keras-ncsn card ([0-9a-f]{64}) -->\n\Z")


class Upload(NamedTuple):
    """What is to go up.

    Attributes:
        repo_id: String, `"owner/repo"`.
        revision: String, the branch, or `None` for the main one.
        files: Dictionary from names to paths.
        keeps_card: Boolean, whether the card on the Hub stays as it is.
    """

    repo_id: str
    revision: str | None
    files: dict
    keeps_card: bool


def prepare(folder, model, repo_id, revision=None, token=None):
    """Checks a preset, and adds a card and a picture where it has none.

    Args:
        folder: Path of the preset, to which they are written.
        model: The `NCSNModel` that was loaded from it.
        repo_id: String, `"owner/repo"`.
        revision: String, the branch. Defaults to `None`, the main one.
        token: String, of the Hub. Defaults to `None`.

    Returns:
        An `Upload`.
    """
    folder = pathlib.Path(folder)
    hub.check_repo_id(repo_id)
    if len(model.image_shape) == 3 and not (folder / PICTURE_FILE).exists():
        images = model.generate(NUM_PICTURED, seed=0)
        save_grid(images, folder / PICTURE_FILE)
    card = folder / presets.CARD_FILE
    if not card.exists():
        card.write_text(make_card(folder, repo_id), encoding="utf-8")
    files = {
        path.name: path
        for path in sorted(folder.iterdir())
        if path.is_file()
        and not path.is_symlink()
        and path.suffix in _SUFFIXES
        and not path.name.startswith(".")
    }
    published = hub.read_text(repo_id, presets.CARD_FILE, revision, token)
    keeps_card = published is not None and not _is_generated(published)
    if keeps_card:
        del files[presets.CARD_FILE]
    return Upload(repo_id, revision, files, keeps_card)


def push(upload, private=False, create_pr=False, token=None):
    """Uploads what `prepare` returned, in one commit.

    Args:
        upload: An `Upload`.
        private: As in `NCSNModel.push_to_hub`.
        create_pr: As in `NCSNModel.push_to_hub`.
        token: As in `NCSNModel.push_to_hub`.

    Returns:
        String, the address of the commit or of the proposal.
    """
    return hub.push(
        upload.files,
        upload.repo_id,
        "Upload a preset of keras-ncsn",
        private,
        upload.revision,
        create_pr,
        token,
    )


def make_card(folder, repo_id):
    """Returns a model card, in Markdown.

    Args:
        folder: Path of the preset.
        repo_id: String, where it will be.

    Returns:
        A string. It ends with a mark, by which `push` sees whether a person
        changed the text since.
    """
    folder = pathlib.Path(folder)
    metadata = presets.read_metadata(folder)
    config = presets.read_config(folder)["config"]
    shape = "x".join(str(side) for side in presets.image_shape(folder))
    data = metadata.get("data")
    front = {
        "library_name": "keras",
        "license": metadata.get("license", "other"),
        "pipeline_tag": "unconditional-image-generation",
        "tags": "[keras-ncsn, score-based, diffusion]",
    }
    if isinstance(data, str) and re.fullmatch(r"[\w.-]+", data):
        front["datasets"] = f"[{data}]"
    metrics = dict(metadata.get("metrics", {}))
    if "validation_loss" in metadata:
        metrics["score-matching-loss"] = metadata["validation_loss"]
    if metrics:
        front["metrics"] = f"[{', '.join(metrics)}]"
    lines = [
        "---",
        *(f"{name}: {value}" for name, value in front.items()),
        "---",
        "",
        f"# {repo_id.split('/')[1]}",
        "",
        f"A score network ({config['network']['class_name']}, "
        f"{metadata['parameter_count']:,} parameters) that generates and "
        f"completes {shape or 'points'}{' images' if shape else ''}, for "
        "keras-ncsn (`pip install keras-ncsn`) on TensorFlow, JAX or PyTorch.",
        "",
        "```python",
        "import keras_ncsn",
        "",
        f'model = keras_ncsn.NCSNModel.from_preset("hf://{repo_id}")',
        "images = model.generate(16, seed=0)",
        "```",
        "",
    ]
    if (folder / PICTURE_FILE).exists():
        lines += [
            f"![Samples, seed 0, not selected]({PICTURE_FILE})",
            "",
            f"Sampled by `{config['sampler']}`, not selected.",
            "",
        ]
    lines += ["## Training", "", *_training(metadata), ""]
    lines += [
        "## Limits",
        "",
        "It knows nothing but images like those it was trained on, "
        f"{'of ' + shape + ' pixels, ' if shape else ''}and may repeat their "
        "biases. Look at the samples before you rely on it.",
        "",
    ]
    text = "\n".join(lines)
    return f"{text}\n<!-- keras-ncsn card {_digest(text)} -->\n"


def _training(metadata):
    if "command" in metadata:
        yield f"    {metadata['command']}"
        yield ""
    facts = {
        "data": metadata.get("data"),
        "steps": metadata.get("steps"),
        "batch size": metadata.get("batch_size"),
        "loss on images held out": metadata.get("validation_loss"),
        **metadata.get("metrics", {}),
        "keras-ncsn": metadata.get("keras_ncsn_version"),
        "Keras": metadata.get("keras_version"),
    }
    yield "| | |"
    yield "|---|---|"
    for name, value in facts.items():
        if value is not None:
            yield f"| {name} | {value} |"


def _is_generated(text):
    mark = _MARK.search(text)
    return mark is not None and mark[1] == _digest(text[: mark.start()])


def _digest(text):
    return hashlib.sha256(text.strip().encode()).hexdigest()
