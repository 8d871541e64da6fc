"""Cards: the Hub must read them, whatever a preset says of itself."""

import json
import re
from contextlib import nullcontext as ok

import keras
import pytest
import yaml

import keras_ncsn
from keras_ncsn.presets import cards


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


@pytest.mark.parametrize(
    "word",
    [
        *("null", "true", "no", "0x10", "1e3", "1.5", "12", "0o7", "1.e+3"),
        *("2024-01-01", "NaN", "Yes", "1E3", "apache-2.0"),
    ],
)
def test_the_name_of_a_licence_is_text(model, word):
    front, _ = front_matter(cards.make({"license": word}, model, "owner/repo"))
    assert front["license"] == word
    metadata = {"license_name": word}
    front, _ = front_matter(cards.make(metadata, model, "owner/repo"))
    assert front["license_name"] == word


def test_points_are_not_called_images():
    network = keras_ncsn.networks.MLP(2)
    model = keras_ncsn.NCSNModel(network, value_range=None)
    card = cards.make({"metrics": None}, model, "owner/repo")
    assert "completes 2 points" in card
    assert "points = model.generate" in card
    assert f"{network.count_params():,} parameters" in card


@pytest.mark.parametrize("condition_dropout", [0.0, 0.1])
@pytest.mark.parametrize("name", ["num_classes", "condition_size"])
def test_code_of_a_card_runs(name, condition_dropout):
    model = keras_ncsn.NCSNModel(
        keras_ncsn.networks.MLP(2, width=4, **{name: 3}),
        value_range=None,
        condition_dropout=condition_dropout,
        sampler=keras_ncsn.samplers.Heun(num_steps=2),
    )
    card = cards.make({}, model, "owner/repo")
    (line,) = [line for line in card.splitlines() if ".generate(" in line]
    names = {"model": model}
    exec(line, names)
    assert names["points"].shape == (16, 2)


def test_parameters_of_a_guide_are_counted_separately():
    guide = keras_ncsn.Guide(keras_ncsn.networks.MLP(2, width=4))
    network = keras_ncsn.networks.MLP(2)
    model = keras_ncsn.NCSNModel(network, value_range=None, guide=guide)
    card = cards.make({}, model, "owner/repo")
    counts = network.count_params(), guide.count_params()
    assert "{:,} parameters, and a guide of {:,})".format(*counts) in card


def test_metadata_of_any_type_leave_the_card_readable(model):
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


def test_a_card_names_several_data_sets(model):
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
def test_invalid_metadata_are_refused(model, metadata, message):
    with pytest.raises(ValueError, match=message):
        cards.make(metadata, model, "owner/repo")


def test_the_mark_tells_who_wrote_the_card(model):
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


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a </td></table><a href='https://evil.example'>Click</a>",
    "<!-- keras-ncsn card " + 64 * "0" + " -->",
    "<https://evil.example>",
    "[Click](https://evil.example)",
    "\\[Click](https://evil.example)",
    "![Click](https://evil.example/a.png)",
    "[Click][a]\n\n[a]: https://evil.example",
    "\x1b]8;;https://evil.example\x07Click\x1b]8;;\x07",
    "\x1b[2J\x9b1m\u202etxt",
    "a\n---\nlicense: mit\n---\n# Title",
    "a\r\n\r\n# Title",
    "a\u2028# Title",
    "a | b \\| c \\\\| d",
    "`a` ``` b",
    "https://evil.example www.evil.example WWW.evil.example a@evil.example",
    "\ud800 \udcff",
    "\x7f\x00",
    ["<b>", ["[a](b)"]],
    {"<b>": "[a](b)"},
]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("place", ["data", "steps", "a metric", "its name"])
def test_metadata_cannot_inject_markup_into_a_card(model, value, place):
    metadata = {
        "data": {"data": value},
        "steps": {"steps": value},
        "a metric": {"metrics": {"a": value}},
        "its name": {"metrics": {str(value): 1}},
    }[place]
    # As they come: from a file of JSON.
    metadata = json.loads(json.dumps(metadata))
    card = cards.make(metadata, model, "owner/repo")
    front, text = front_matter(card)
    assert front["license"] == "other"
    assert set(front) <= {
        *("library_name", "license", "pipeline_tag", "tags", "metrics"),
        "datasets",
    }
    assert text.replace("\n", "").isprintable()
    assert re.findall("^#+ .*", text, re.MULTILINE) == [
        *("# repo", "## Training", "## Limits")
    ]
    # The mark alone is HTML.
    assert text.count("<") == 1
    assert not re.search(r"(?<!\\)(\\\\)*[\[`]", table(text))
    assert not re.search(r"(?<!\\)(://|@)|www[.]", table(text))
    for line in table(text).splitlines():
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3
    assert cards.origin(card) == cards.MADE


def table(text):
    return "\n".join(x for x in text.splitlines() if x.startswith("|"))


@pytest.mark.parametrize("value", HOSTILE)
def test_a_markdown_parser_finds_no_injected_markup(model, value):
    markdown_it = pytest.importorskip("markdown_it")
    parser = markdown_it.MarkdownIt("commonmark", {"html": True})
    parser.enable(["table", "strikethrough"])
    metadata = {"data": value, "metrics": {str(value): value}, "command": value}
    metadata = json.loads(json.dumps(metadata))
    _, text = front_matter(cards.make(metadata, model, "owner/repo"))
    text, _ = text.rsplit("\n<!--", 1)
    rendered = parser.render(text)
    tags = set(re.findall(r"<(\w+)", rendered))
    assert tags <= {
        *("h1", "h2", "p", "pre", "code", "table", "thead", "tbody"),
        *("tr", "th", "td"),
    }
    # The head, data and the metric.
    assert rendered.count("<tr>") == 3


def test_a_card_shows_the_metadata(model):
    metadata = {
        "data": ["a_b", "R&D <3"],
        "metrics": {"FID [10k]": 12.5},
        "command": "keras-ncsn train data runs/a && echo '<done>' | tee [a]",
    }
    _, text = front_matter(cards.make(metadata, model, "owner/repo"))
    assert "| data | a_b, R&amp;D &lt;3 |" in text
    assert "| FID \\[10k] | 12.5 |" in text
    assert f"\n    {metadata['command']}\n" in text


@pytest.mark.parametrize("name", ["data", "metrics", "license", "command"])
@pytest.mark.parametrize("depth", [100, 990])
def test_deeply_nested_metadata_give_no_traceback(model, name, depth):
    value = nested(depth)
    value = {"a": value} if name == "metrics" else value
    refused = name == "license" or depth > 500
    with pytest.raises(ValueError, match="Received") if refused else ok() as e:
        card = cards.make({name: value}, model, "owner/repo")
        assert "\\[\\[" in card or "    [[" in card
    assert not refused or len(str(e.value)) < 1000


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def test_refused_values_are_shown_in_one_short_line(model):
    for metadata in ({"metrics": 10**5 * "\x1b["}, {"license": 10**5 * "a "}):
        with pytest.raises(ValueError, match="Received") as raised:
            cards.make(metadata, model, "owner/repo")
        assert str(raised.value).isprintable()
        assert len(str(raised.value)) < 1000
