"""Training runs: a folder with a recipe, checkpoints, a log and pictures."""

from keras_ncsn.runs.run import load_images as load_images
from keras_ncsn.runs.run import train as train
