"""Score networks, called on noisy images and their noise levels."""

from keras_ncsn.networks.mlp import MLP as MLP
from keras_ncsn.networks.refinenet import RefineNet as RefineNet
from keras_ncsn.networks.unet import UNet as UNet
