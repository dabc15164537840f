import json

import pytest

from pipeline.report.__main__ import main


def test_a_folder_of_no_run_is_refused_in_one_line(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"error: Expected a run: its folder, such as workdir/latest_run, or its id. "
        f"Received: {tmp_path}.\n"
    )


def test_a_run_whose_store_is_gone_is_refused_in_one_line(tmp_path, capsys):
    gone = tmp_path / "metadata.sqlite"
    summary = {"run_id": "r1", "status": "pushed", "error": None, "metadata": str(gone)}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert str(gone) in error
    assert error.count("\n") == 1
    assert not (tmp_path / "report.html").exists()


def test_one_run_has_its_place_and_takes_no_other(tmp_path, capsys):
    (tmp_path / "summary.json").write_text("{}")
    assert main([str(tmp_path), "--out", "page.html"]) == 2
    assert "--out with two runs" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--unknown"]])
def test_a_wrong_command_line_says_how_it_goes(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert "usage: python -m pipeline.report" in capsys.readouterr().err
