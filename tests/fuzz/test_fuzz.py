"""The short form: `make fuzz` runs a thousand cases of each format."""

import pytest

from tests.fuzz.cases import run_case
from tests.fuzz.data_sets import FORMATS

_CASES = 100


@pytest.mark.parametrize("kind", [*FORMATS, "archive"])
def test_broken_data_ends_in_examples_or_in_reasons(kind):
    ends = {run_case(kind, 1, number) for number in range(_CASES)}
    assert ends == {"examples", "reasons"}
