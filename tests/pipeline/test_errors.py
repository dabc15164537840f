import pytest

from pipeline.errors import one_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("first\n  second\n"), "first second"),
        (TimeoutError(), "TimeoutError"),
        (ValueError("x" * 1000), "x" * 300),
    ],
)
def test_any_error_becomes_one_short_line(error, line):
    assert one_line(error) == line
