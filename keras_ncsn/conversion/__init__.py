"""The authors' PyTorch checkpoints of NCSN and NCSNv2, converted."""

from keras_ncsn.conversion.checkpoints import (
    load_checkpoint as load_checkpoint,
)
from keras_ncsn.conversion.checkpoints import load_model as load_model
