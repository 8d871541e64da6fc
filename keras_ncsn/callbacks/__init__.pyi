from .checkpoint import Checkpoint as Checkpoint
from .sample_pictures import SamplePictures as SamplePictures
from .tensorboard_log import TensorBoardLog as TensorBoardLog
from .training_log import TrainingLog as TrainingLog
