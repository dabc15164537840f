"""What `verify` says in the end: never a good word about what nobody looked at."""

import pytest

from pipeline.lineage import __main__ as command_line
from pipeline.lineage import tables
from pipeline.lineage.verify import CHANGED, MISSING, UNKNOWN, Finding, Part, Verification


def finding(problem, artifact=1):
    return Finding(problem, "gs://bucket/model", artifact, "no credentials")


def answer_of(files, findings=(), input_files=1, input_findings=()):
    parts = Part(files, list(findings)), Part(input_files, list(input_findings))
    return Verification("shipped file", *parts, 3)


@pytest.mark.parametrize(
    ("files", "findings", "sound", "verdict"),
    [
        (7, [], True, "intact, 7 files"),
        (7, [finding(MISSING)], False, "not intact"),
        (0, [finding(MISSING)], False, "not intact"),
        (7, [finding(CHANGED), finding(UNKNOWN, 2)], False,
         "not intact; cannot tell for 1 artifact"),
        (1, [finding(UNKNOWN), finding(UNKNOWN, 2)], True,
         "intact, 1 file; cannot tell for 2 artifacts"),
        (0, [finding(UNKNOWN)], None, "cannot tell, no file could be checked"),
        (0, [], None, "cannot tell, no file could be checked"),
    ],
)  # fmt: skip
def test_the_verdict_is_about_what_was_checked(files, findings, sound, verdict, capsys):
    answer = answer_of(files, findings)
    assert answer.shipped.is_sound is sound
    tables.show(answer)
    lines = capsys.readouterr().out.splitlines()
    assert lines[len(findings) :] == [
        f"shipped file: {verdict}",
        "training inputs: intact, 1 file",
    ]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (answer_of(7), 0),
        (answer_of(7, input_files=0), 0),
        (answer_of(7, [finding(MISSING)]), 1),
        (answer_of(7, [finding(CHANGED)], 7, [finding(MISSING)]), 1),
        (answer_of(0, [finding(UNKNOWN)]), 2),
        (answer_of(7, [finding(UNKNOWN)]), 2),
        (answer_of(7, [], 7, [finding(MISSING)]), 3),
        (answer_of(7, [], 0, [finding(UNKNOWN)]), 3),
    ],
)
def test_the_exit_code_says_it_too(answer, code, sqlite_filled, monkeypatch):
    monkeypatch.setattr(command_line, "_ask", lambda *_: answer)
    arguments = ["verify", "run-00001", "--metadata", sqlite_filled.location]
    assert command_line.main(arguments) == code


def test_names_do_not_steer_the_terminal(capsys):
    name = "a\x1b[2Jb\x07\u202ec\udcff"
    tables.show(answer_of(1, [Finding(CHANGED, name, 1, "detail")]))
    assert "a\\x1b[2Jb\\x07\\u202ec\\udcff: detail" in capsys.readouterr().out
