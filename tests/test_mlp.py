"""What only the MLP does; what it shares with the U-Net: `test_unet.py`."""

import pytest

from keras_ncsn.networks import MLP


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [({"width": 0}, "width=0"), ({"data_std": -1.0}, r"data_std=-1\.0")],
)
def test_mlp_rejects(kwargs, message):
    with pytest.raises(ValueError, match=message):
        MLP(**kwargs)


def test_unknown_arguments_are_refused():
    with pytest.raises(TypeError, match="unexpected.*'num_bricks'"):
        MLP(width=4, num_bricks=2)
