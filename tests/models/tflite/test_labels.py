import pytest

from models.tflite.labels import format_labels, parse_labels


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
