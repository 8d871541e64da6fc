"""What is printable, and that the command line prints nothing else."""

import sys

import click
import pytest

from keras_ncsn import cli
from keras_ncsn.text import one_line, printable

pytestmark = pytest.mark.usefixtures("alarm")

ORDERS = "\x1b[2J\x9b1m\x07\x08\r\x7f\x00\u202e\u2066"


def test_one_line_is_one_line():
    text = f"a\n b\r\nc\u2028d\u2029e\x85f\x1cg\v\fh{ORDERS}\ti"
    assert one_line(text) == "a b c d e f g h[2J1m  i"
    assert one_line("\ud800\udcff") == "??"
    assert one_line(ORDERS).strip() == "[2J1m"
    assert printable(f"a\n\tb{ORDERS}") == "a\n\tb[2J1m"
    control = {chr(code) for code in [*range(32), *range(127, 160)]}
    # As many at a time as it does not cut.
    for first in range(0, sys.maxunicode + 1, 256):
        shown = one_line("".join(map(chr, range(first, first + 256))))
        assert not shown.endswith("...")
        assert not control & set(shown)


# Those of Unicode's property Default_Ignorable_Code_Point, blank Braille, and
# the blanks of Khitan script and of musical notes.
BLANK = [
    *(0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164),
    *range(0x180B, 0x1810),
    *range(0x200B, 0x2010),
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    *range(0xFE00, 0xFE10),
    *(0xFEFF, 0xFFA0),
    *range(0xFFF0, 0xFFF9),
    *(0x16FE4, 0x1D159),
    *range(0x1BCA0, 0x1BCA4),
    *range(0x1D173, 0x1D17B),
    *range(0xE0000, 0xE1000),
]


def test_invisible_characters_hide_no_token():
    shown = [one_line(f"hf_a{chr(code)}b") for code in BLANK]
    assert set(shown) == {"hf_ab"}


@pytest.mark.parametrize(
    "text",
    [
        "\u00e9e\u0301 \u4e2d\u6587 \ud55c\uae00",
        "\u0645\u0631\u062d\u0628\u064b\u0627 \u05e9\u05c1",
        "\u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27",
        "\U0001f600 \u2764 \u20ac \u00bd \u2013",
    ],
)
def test_printable_text_is_unchanged(text):
    assert one_line(text) == text


def test_joined_emoji_are_unchanged():
    assert one_line("\U0001f469\u200d\U0001f4bb") == "\U0001f469\U0001f4bb"


def test_one_line_limits_its_length():
    assert one_line("x" * 300) == "x" * 300
    assert one_line("x" * 301) == "x" * 297 + "..."
    assert len(one_line(ORDERS * 10**4)) == 300


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["keras-ncsn", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    return stopped.value.code, printed.err


@pytest.mark.parametrize(
    "arguments",
    [
        # As a shell writes the names that a pattern matches.
        ["generate", "mnist", f"a{ORDERS}.png"],
        ["presets", f"a{ORDERS}"],
        ["presets", "show", "mnist", f"a{ORDERS}"],
        ["push", f"--{ORDERS}"],
        ["generate", "mnist", "--num-images", f"{ORDERS}1"],
        [f"a{ORDERS}"],
        ["presets", "show", f"a{ORDERS}"],
        ["presets", "show", f"hf://owner/repo@{ORDERS}"],
    ],
)
def test_arguments_send_no_control_characters(monkeypatch, capsys, arguments):
    status, printed = run(monkeypatch, capsys, *arguments)
    assert status == 2
    assert "Error: " in printed
    assert printed.replace("\n", "").isprintable()


def failing(error):
    @click.command()
    def command():
        raise error

    return command


@pytest.mark.parametrize(
    "error",
    [
        ValueError(f"It must be so.{ORDERS}"),
        OSError(2, "No such file", f"a{ORDERS}"),
        click.UsageError(f"It must be so.{ORDERS}"),
        click.FileError(f"a{ORDERS}", f"It is none.{ORDERS}"),
        click.BadParameter(f"It must be so.{ORDERS}"),
        MemoryError(),
        MemoryError(f"Unable to allocate 129. GiB{ORDERS}"),
    ],
)
def test_errors_send_no_control_characters(monkeypatch, capsys, error):
    monkeypatch.setattr(
        cli._Commands, "get_command", lambda *args: failing(error)
    )
    status, printed = run(monkeypatch, capsys, "generate")
    assert status == error.exit_code if hasattr(error, "exit_code") else 2
    assert "Error: " in printed
    assert printed.replace("\n", "").isprintable()


def test_a_lack_of_memory_gives_one_sentence(monkeypatch, capsys):
    error = MemoryError("Unable to allocate 129. GiB")
    monkeypatch.setattr(
        cli._Commands, "get_command", lambda *args: failing(error)
    )
    assert run(monkeypatch, capsys, "generate") == (
        2,
        "Error: The images and the network must fit into memory. Received: "
        "too little, Unable to allocate 129. GiB. Ask for fewer or smaller "
        "images at a time, with a smaller --batch-size.\n",
    )
