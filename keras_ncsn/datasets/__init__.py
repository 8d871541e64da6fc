"""Images to train on: named sets, folders of pictures, array files."""

from keras_ncsn.datasets.arrays import load_arrays as load_arrays
from keras_ncsn.datasets.batches import hold_out as hold_out
from keras_ncsn.datasets.batches import shuffled_batches as shuffled_batches
from keras_ncsn.datasets.labels import LabelledImages as LabelledImages
from keras_ncsn.datasets.loading import NAMES as NAMES
from keras_ncsn.datasets.loading import TERMS as TERMS
from keras_ncsn.datasets.loading import load_images as load_images
from keras_ncsn.datasets.loading import (
    load_labelled_images as load_labelled_images,
)
from keras_ncsn.datasets.picture_file import load_image as load_image
from keras_ncsn.datasets.pictures import load_folder as load_folder
