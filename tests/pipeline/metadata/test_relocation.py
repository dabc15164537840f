import pytest

from pipeline.metadata.relocation import replace_folder


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a/work", "/new"),
        ("/a/work/x", "/new/x"),
        ("file:///a/work/x", "file:///new/x"),
        ('{"dir": "/a/work", "file": "/a/work/x"}', '{"dir": "/new", "file": "/new/x"}'),
        ("/a/work2/x", "/a/work2/x"),
        ("/a/work.old", "/a/work.old"),
        ("/mnt/a/work/x", "/mnt/a/work/x"),
        ("gs://bucket/a/work", "gs://bucket/a/work"),
        ("", ""),
    ],
)
def test_only_the_folder_itself_is_replaced(text, expected):
    assert replace_folder(text, "/a/work", "/new") == expected
