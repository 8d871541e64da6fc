"""Presets: folders with a config, weights and metadata.

`NCSNModel.from_preset` finds a folder (`sources`), reads it (`format`, `trust`)
and loads its weights (`loading`). `save_to_preset` writes one (`saving`), and
`push_to_hub` publishes it (`publishing`, `cards`).
"""
