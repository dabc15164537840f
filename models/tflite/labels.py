"""The label file beside a detector: one class a line, line 1 is class index 0."""

from collections.abc import Sequence


def parse_labels(text: str, source: str) -> tuple[str, ...]:
    """Reads the text of a label file.

    Args:
      text: one class name a line, in the order of the class index; a line break may end it.
      source: where the text is from, for the errors.

    Returns:
      The names: at least one, none empty, none twice.

    Raises:
      ValueError: when they are not so.
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
    """The text of a label file; `parse_labels` reads it back."""
    return "".join(f"{label}\n" for label in labels)
