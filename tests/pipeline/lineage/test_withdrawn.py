"""What questions say of a version that was withdrawn."""

import json

from benchmarks.lineage_store import sha256
from pipeline.lineage.__main__ import main
from pipeline.metadata import store
from pipeline.metadata.facts import record_withdrawal
from tests.pipeline.lineage.shipped_files import ShippedFiles


def test_runs_impact_and_trace_show_when_and_why(tmp_path, capfd):
    made = ShippedFiles(tmp_path)
    made.run("first", content="one", version="1")
    made.run("second", content="two", version="2")
    made.write()
    opened = store.open_store(store.connection_config(made.location))
    facts = {"at": "2026-11-28T12:00:00+00:00", "reason": "a breeder's photograph"}
    record_withdrawal(opened, sha256("two"), facts)

    def ask(*arguments: str) -> str:
        assert main([*arguments, "--metadata", made.location]) == 0
        return capfd.readouterr().out

    first, second = ask("runs").splitlines()[1:]
    assert "withdrawn" not in first
    assert "version 2, withdrawn" in second
    pushes = [line["push"]["withdrawn"] for line in json.loads(ask("runs", "--json"))]
    assert pushes == [None, facts]
    words = f"withdrawn {facts['at']}: {facts['reason']}"
    assert words in ask("impact", "second")
    assert words in ask("trace", "second")
    assert words not in ask("trace", "first")
