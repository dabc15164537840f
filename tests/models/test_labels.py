import re

import pytest

from models.labels import format_labels, parse_labels


def test_round_trip_keeps_order_and_spaces():
    labels = ("dog", "cat", "Maine Coon", "Schäferhund")
    assert parse_labels(format_labels(labels), "labels.txt") == labels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty file"),
        ("cat\n\ndog\n", "line 2 is empty"),
        ("cat\ndog\ncat\n", "'cat' again on line 3"),
    ],
)
def test_bad_label_files_are_errors(text, message):
    with pytest.raises(ValueError, match=message):
        parse_labels(text, "labels.txt")


@pytest.mark.parametrize(
    "character", ["\n", "\r", "\u2028", "\u2029", "\x85", "\x0b", "\x1c", "\0"]
)
def test_a_name_that_would_shift_the_others_is_not_written(character):
    with pytest.raises(ValueError, match=f"Received: {re.escape(repr(f'a{character}b'))}"):
        format_labels(["cat", f"a{character}b"])


def test_names_in_any_language_are_written():
    names = ("kočka", "猫", "قطة", "cat\u200d🐈", "black cat", "cat\u00a0b")
    assert parse_labels(format_labels(names), "labels.txt") == names
