"""Names that examples in docstrings use without importing them."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_ncsn


@pytest.fixture(autouse=True)
def doctest_names(doctest_namespace):
    doctest_namespace |= {
        "keras": keras,
        "keras_ncsn": keras_ncsn,
        "np": np,
        "ops": ops,
    }
