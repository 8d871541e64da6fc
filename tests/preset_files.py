"""Presets that are changed by hand."""

import json

from keras_ncsn.presets import format


def restate(folder):
    """States the SHA-256 of a config as it is now."""
    path = folder / format.METADATA_FILE
    metadata = json.loads(path.read_text())
    metadata["config_sha256"] = format.sha256(folder / format.CONFIG_FILE)
    path.write_text(json.dumps(metadata))


def state_checksum(folder, name=format.WEIGHTS_FILE, digest=None):
    """The author of a hostile preset writes the checksum and size, too."""
    stated = format.read_metadata(folder)["sha256"]
    if digest is None:
        digest = format.sha256(folder / name)
        sizes = [(folder / x).stat().st_size for x in {*stated, name}]
        restate_metadata(folder, weights_bytes=sum(sizes))
    restate_metadata(folder, sha256=stated | {name: digest})


def restate_metadata(folder, **changes):
    """States something else in the metadata, and leaves out what is `None`."""
    path = folder / format.METADATA_FILE
    metadata = json.loads(path.read_text()) | changes
    metadata = {k: v for k, v in metadata.items() if v is not None}
    path.write_text(json.dumps(metadata))
