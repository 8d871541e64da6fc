"""oneDNN, the library of fast convolutions that TensorFlow contains."""

import os

SWITCH = "TF_ENABLE_ONEDNN_OPTS"


def use_onednn() -> None:
    """Lets TensorFlow use oneDNN, unless the user decides about it.

    TensorFlow reads the switch when it is imported. Left alone, it uses oneDNN
    only on processors with AVX-512 or newer instructions, although training is
    several times faster with it on older ones too.
    """
    os.environ.setdefault(SWITCH, "1")
