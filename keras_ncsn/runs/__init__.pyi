from .run import load_images as load_images
from .run import train as train
