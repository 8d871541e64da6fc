"""What happens beside training: checkpoints, presets, logs, pictures.

All count steps over the whole life of a run. Of several processes all count,
and the main one writes. Their order in `fit` does not matter.
"""

from keras_ncsn.callbacks.checkpoint import Checkpoint as Checkpoint
from keras_ncsn.callbacks.sample_pictures import (
    SamplePictures as SamplePictures,
)
from keras_ncsn.callbacks.tensorboard_log import (
    TensorBoardLog as TensorBoardLog,
)
from keras_ncsn.callbacks.training_log import TrainingLog as TrainingLog
