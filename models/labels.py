"""The label file of a detector: one class per line, line 1 is class index 0."""

import re
import unicodedata
from collections.abc import Sequence

# Control characters, and the two that separate lines and paragraphs.
_UNFIT = ("Cc", "Zl", "Zp")

_ITEM = re.compile(r"item\s*\{([^}]*)\}")
_FIELD = re.compile(r"""(id|name|display_name)\s*:\s*(?:(\d+)|"([^"]*)"|'([^']*)')""")


def is_fit(label: str) -> bool:
    """Whether a class name fits on one line of a label file, for every reader.

    A line break in one, also one of Unicode's, would shift the names of all later classes.
    """
    return not any(unicodedata.category(character) in _UNFIT for character in label)


def parse_labels(text: str, source: str) -> tuple[str, ...]:
    """Reads the text of a label file.

    Args:
      text: one class name per line, in the order of the class index; may end with a line break.
      source: of the text, for error messages.

    Returns:
      The names: at least one, none empty, all different.

    Raises:
      ValueError: no name, an empty name, or a repeated one.
    """
    labels = tuple(text.splitlines())
    if not labels:
        raise ValueError(f"Expected at least one class name in {source}. Received: an empty file.")
    for number, label in enumerate(labels, start=1):
        if not label.strip():
            raise ValueError(
                f"Expected a class name on each line of {source}. Received: line {number} is empty."
            )
        if label in labels[: number - 1]:
            raise ValueError(
                f"Expected each class once in {source}. Received: {label!r} again on line {number}."
            )
    return labels


def format_labels(labels: Sequence[str]) -> str:
    """The text of a label file; `parse_labels` reads it back.

    Raises:
      ValueError: a name with a line break or another control character.
    """
    for label in labels:
        if not is_fit(label):
            raise ValueError(
                "Expected class names without line breaks and control characters. "
                f"Received: {label!r}."
            )
    return "".join(f"{label}\n" for label in labels)


def parse_label_map(text: str) -> dict[int, str]:
    """Reads a label map of the TF Object Detection API (.pbtxt).

    Returns:
      The names by id: those to display, where there are any besides codes; "" where there is none.
    """
    names = {}
    for item in _ITEM.findall(text):
        fields = {key: number or a or b for key, number, a, b in _FIELD.findall(item)}
        names[int(fields.get("id") or 0)] = fields.get("display_name") or fields.get("name", "")
    return names
