"""Callbacks that write checkpoints, logs and pictures during training.

All of them count the steps of the whole run, including those before it was
resumed. If there are several processes, only the main one writes. The order of
the callbacks in `fit` does not matter.
"""

from keras_ncsn.callbacks.checkpoint import Checkpoint as Checkpoint
from keras_ncsn.callbacks.sample_pictures import (
    SamplePictures as SamplePictures,
)
from keras_ncsn.callbacks.tensorboard_log import (
    TensorBoardLog as TensorBoardLog,
)
from keras_ncsn.callbacks.training_log import TrainingLog as TrainingLog
