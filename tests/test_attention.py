import numpy as np
import pytest
from contract import assert_equal, check_layer, random_images, randomize

from keras_ncsn.layers.attention import PixelAttention


def test_attention_keeps_the_contract():
    layer = PixelAttention(2)
    layer.build((None, 4, 4, 8))
    check_layer(layer, random_images(2, 4, 4, 8))


def test_attention_equals_numpy():
    layer = PixelAttention(num_heads=2)
    x = random_images(2, 3, 3, 4)
    layer(x)
    randomize(layer)
    project, project_bias, merge, merge_bias = layer.get_weights()
    heads = (x.reshape(2, 9, 4) @ project + project_bias).reshape(2, 9, 3, 2, 2)
    query, key, value = heads.transpose(2, 0, 3, 1, 4)
    logits = query @ key.swapaxes(-1, -2) / np.sqrt(2)
    weights = np.exp(logits)
    weights /= weights.sum(axis=-1, keepdims=True)
    attended = (weights @ value).transpose(0, 2, 1, 3).reshape(2, 3, 3, 4)
    assert_equal(layer(x), attended @ merge + merge_bias, rtol=1e-5)


def test_attention_rejects_heads_that_do_not_divide():
    with pytest.raises(ValueError, match="divide.*num_heads=3, channels=8"):
        PixelAttention(3).build((None, 4, 4, 8))
