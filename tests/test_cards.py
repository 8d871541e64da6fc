"""Cards: the Hub must read them, whatever a preset says of itself."""

import keras
import pytest
import yaml

import keras_ncsn
from keras_ncsn import cards


@pytest.fixture
def model():
    noisy, sigma = keras.Input((4, 6, 1)), keras.Input(())
    same = keras.layers.Rescaling(1.0)(noisy)
    return keras_ncsn.NCSNModel(keras.Model([noisy, sigma], same))


def front_matter(card):
    before, front, rest = card.split("---\n", 2)
    assert before == ""
    return yaml.safe_load(front), rest


def test_a_network_of_plain_layers_has_its_own_shape(model):
    front, text = front_matter(cards.make({}, model, "owner/repo"))
    assert front["license"] == "other"
    assert "(Functional, 0 parameters)" in text
    assert "completes 4x6x1 images" in text


def test_terms_of_the_data_are_named(model):
    metadata = {
        "license": "other",
        "license_name": "celeba-non-commercial-research-only",
        "license_link": "https://example.org/terms.html",
    }
    front, text = front_matter(cards.make(metadata, model, "owner/repo"))
    assert {name: front[name] for name in metadata} == metadata
    assert "| license | mit |" in cards.make(
        {"license": "mit", "license_name": None}, model, "owner/repo"
    )
    assert "| license | celeba-non-commercial-research-only |" in text


def test_points_are_no_images():
    network = keras_ncsn.networks.MLP(2)
    model = keras_ncsn.NCSNModel(network, value_range=None)
    card = cards.make({"metrics": None}, model, "owner/repo")
    assert "completes 2 points" in card
    assert "points = model.generate" in card
    assert f"{network.count_params():,} parameters" in card


def test_a_guide_is_counted_apart():
    guide = keras_ncsn.Guide(keras_ncsn.networks.MLP(2, width=4))
    network = keras_ncsn.networks.MLP(2)
    model = keras_ncsn.NCSNModel(network, value_range=None, guide=guide)
    card = cards.make({}, model, "owner/repo")
    counts = network.count_params(), guide.count_params()
    assert "{:,} parameters, and a guide of {:,})".format(*counts) in card


def test_odd_facts_leave_the_card_readable(model):
    metadata = {
        "license": None,
        "data": "true",
        "metrics": {"a: b]\n": "1 | 2\n\n# Title", "c": [1]},
        "command": "train\n---\nlicense: mit",
        "validation_loss": 0.5,
        "steps": None,
    }
    front, text = front_matter(cards.make(metadata, model, "owner/repo"))
    assert front["license"] == "other"
    assert front["datasets"] == ["true"]
    assert front["metrics"] == ["a: b]\n", "c", "score-matching-loss"]
    assert "\n    train --- license: mit\n" in text
    assert "\n| a: b] | 1 \\| 2 # Title |\n" in text


def test_data_may_be_several(model):
    metadata = {"data": ["mnist", "fashion_mnist", "a: b\n"]}
    front, text = front_matter(cards.make(metadata, model, "owner/repo"))
    assert front["datasets"] == ["mnist", "fashion_mnist"]
    assert "| data | mnist, fashion_mnist, a: b |" in text


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"license": "mit\nmodel-index: x"}, "`license`.*license='mit.n"),
        ({"license": "Apache License"}, "such as apache-2.0 or other"),
        ({"license": ["mit"]}, r"license=\['mit'\]"),
        ({"license_name": "a b"}, "one word.*license_name='a b'"),
        ({"license_name": 1}, "license_name=1"),
        (
            {"license": "mit", "license_name": "b"},
            "with license='other'.*license='mit'",
        ),
        ({"license_link": "terms"}, "an address.*license_link='terms'"),
        ({"license_link": "https://a\nb: c"}, "license_link='https://a.nb"),
        ({"metrics": ["a"]}, r"`metrics`.*dictionary.*metrics=\['a'\]"),
        ({"metrics": 0.5}, "metrics=0.5"),
    ],
)
def test_facts_that_no_card_can_state_are_refused(model, metadata, message):
    with pytest.raises(ValueError, match=message):
        cards.make(metadata, model, "owner/repo")


def test_the_mark_tells_whose_text_it_is(model):
    made = cards.make({}, model, "owner/repo")
    assert cards.origin(made) == cards.MADE
    copied = cards.mark("# Mine\n", cards.COPIED)
    assert copied.startswith("# Mine\n")
    assert cards.origin(copied) == cards.COPIED
    assert cards.origin(copied.replace("Mine", "Ours")) is None
    assert cards.origin("# Mine\n") is None
    # What came from the Hub with a mark has one mark again.
    assert cards.mark(copied, cards.COPIED) == copied
    assert cards.origin(f"{copied}More.\n") is None
