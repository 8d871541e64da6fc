from .mlp import MLP as MLP
from .refinenet import RefineNet as RefineNet
from .unet import UNet as UNet
