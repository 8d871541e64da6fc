"""Presets that are changed by hand."""

import json

from keras_ncsn import presets


def restate(folder):
    """States the SHA-256 of a config as it is now."""
    path = folder / presets.METADATA_FILE
    metadata = json.loads(path.read_text())
    metadata["config_sha256"] = presets.sha256(folder / presets.CONFIG_FILE)
    path.write_text(json.dumps(metadata))
