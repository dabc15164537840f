"""What `verify` says in the end: never a good word about what nobody looked at."""

import pytest

from pipeline.lineage import __main__ as command_line
from pipeline.lineage import tables
from pipeline.lineage.verify import CHANGED, MISSING, UNKNOWN, Finding, Verification


def finding(problem, artifact=1):
    return Finding(problem, "gs://bucket/model", artifact, "not on this machine")


@pytest.mark.parametrize(
    ("files", "findings", "sound", "verdict"),
    [
        (7, [], True, "nothing is missing, changed or added"),
        (7, [finding(MISSING)], False, "not intact"),
        (0, [finding(MISSING)], False, "not intact"),
        (7, [finding(CHANGED), finding(UNKNOWN, 2)], False, "intact; cannot tell for 1 artifact"),
        (7, [finding(UNKNOWN), finding(UNKNOWN, 2)], True, "added; cannot tell for 2 artifacts"),
        (0, [finding(UNKNOWN)], None, "3 artifacts: cannot tell, no file could be checked"),
        (0, [], None, "cannot tell, no file could be checked"),
    ],
)  # fmt: skip
def test_the_verdict_is_about_what_was_checked(files, findings, sound, verdict, capsys):
    answer = Verification(files, 3, findings)
    assert answer.is_sound is sound
    tables.show(answer)
    assert capsys.readouterr().out.rstrip().endswith(verdict)


@pytest.mark.parametrize(
    ("files", "findings", "code"),
    [(7, [], 0), (7, [finding(MISSING)], 1), (0, [finding(UNKNOWN)], 2)],
)
def test_the_exit_code_says_it_too(files, findings, code, sqlite_filled, monkeypatch):
    monkeypatch.setattr(command_line, "_ask", lambda *_: Verification(files, 3, findings))
    arguments = ["verify", "run-00001", "--metadata", sqlite_filled.location]
    assert command_line.main(arguments) == code


def test_names_do_not_steer_the_terminal(capsys):
    name = "a\x1b[2Jb\x07\u202ec\udcff"
    tables.show(Verification(1, 1, [Finding(CHANGED, name, 1, "detail")]))
    assert "a\\x1b[2Jb\\x07\\u202ec\\udcff: detail" in capsys.readouterr().out
