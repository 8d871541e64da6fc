"""Presets that are changed by hand."""

import json

from keras_ncsn.presets import format


def restate(folder):
    """States the SHA-256 of a config as it is now."""
    path = folder / format.METADATA_FILE
    metadata = json.loads(path.read_text())
    metadata["config_sha256"] = format.sha256(folder / format.CONFIG_FILE)
    path.write_text(json.dumps(metadata))
