"""Noise conditional score networks for Keras 3, with trained presets."""

from keras_ncsn import callbacks as callbacks
from keras_ncsn import checkpoints as checkpoints
from keras_ncsn import datasets as datasets
from keras_ncsn import distances as distances
from keras_ncsn import images as images
from keras_ncsn import ladder as ladder
from keras_ncsn import layers as layers
from keras_ncsn import networks as networks
from keras_ncsn import parallel as parallel
from keras_ncsn import samplers as samplers
from keras_ncsn.guidance import Guide as Guide
from keras_ncsn.model import NCSNModel as NCSNModel
from keras_ncsn.noise import NoiseSchedule as NoiseSchedule
