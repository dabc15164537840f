"""Facts as labels of Google Cloud's resources."""

import re
from collections.abc import Mapping
from typing import Any

MAX_LENGTH = 63
_NOT_IN_LABELS = re.compile(r"[^a-z0-9_-]")


def as_labels(facts: Mapping[str, Any]) -> dict[str, str]:
    """Facts in the letters and the length that labels may have; empty ones are left out.

    Of a long value the end stays, which tells names of runs and tasks from others.
    """
    return {
        name: _NOT_IN_LABELS.sub("-", str(value).lower())[-MAX_LENGTH:]
        for name, value in facts.items()
        if value not in (None, "")
    }
