"""A breeder withdraws photographs: which versions saw them, and how to train without them."""

import csv
import importlib
import io
import json
import shlex
import shutil
import sys

import pytest

import local_runner
from benchmarks.lineage_store import sha256
from pipeline import publish
from pipeline.command_line import make_config
from pipeline.lineage import open_backend
from pipeline.lineage.__main__ import main
from tests.pipeline.lineage.shipped_files import ShippedFiles, picture


def configuration(folder, weights=""):
    """What a run records, as far as it matters here."""
    return {
        "data": {"path": str(folder / "pets"), "train": "", "eval": ""},
        "execution": {"pipeline_root": str(folder / "workdir" / "pipeline_root")},
        "push": {"destination": str(folder / "pushed")},
        "schema_dir": "",
        "warm_start": {"weights": weights},
    }


impact_module = importlib.import_module("pipeline.lineage.impact")  # not the function
COMMAND = "local_runner.py --data pets --set evaluation.min_map50=0.8 training.seed=3"


@pytest.fixture
def breeder(tmp_path):
    """Version 1 knows no photo, 2 and 3 learnt from rex, 4 began from 3 without it, and 5 from
    weights of which nobody knows what they saw; version 4 is served."""
    made = ShippedFiles(tmp_path)
    kept = picture("tom"), picture("kim"), picture("ada", "eval")
    before, during = made.data_set(*kept), made.data_set(*kept, picture("rex"))
    config = configuration(tmp_path)
    made.run("one", content="1", version="1", inputs={"examples": before}, **config)
    seen = {"inputs": {"examples": during}, "command": COMMAND, **config}
    made.run("two", content="2", version="2", **seen)
    three = made.run("three", content="3", version="3", **seen)
    made.run("refused", content="refused", blessed=False, **seen)
    foreign = made.writer.artifact("Model", "WarmStart", "result", sha256=sha256("coco"))
    from_coco = {"examples": before, "base_model": foreign}
    made.run("five", content="5", version="5", inputs=from_coco, **config)
    inherits = {"examples": before, "base_model": three["model"]}
    warm = configuration(tmp_path, weights=str(tmp_path / "three"))
    made.run(
        "four", content="4", version="4", inputs=inherits,
        command=f"{COMMAND} --warm-start three", **warm,
    )  # fmt: skip
    made.write()
    return made


@pytest.fixture
def ask(breeder, capsys):
    def asked(*arguments, code=0):
        assert main(["impact", *arguments, "--metadata", breeder.location]) == code
        return capsys.readouterr().out

    return asked


def test_the_answer_begins_with_the_latest_version(ask):
    lines = ask("rex.jpg").splitlines()
    assert lines[0].startswith(f"latest: v4 of pets (inherited; sha256 {sha256('4')}) in ")
    assert [line.partition(" of pets")[0] for line in lines[1:3]] == ["older: v3", "older: v2"]
    assert f"(trained; sha256 {sha256('3')})" in lines[1]
    assert lines[3].startswith("never saw it: v1 in ")
    assert lines[4].startswith(f"cannot tell: v5 of pets (cannot tell; sha256 {sha256('5')})")
    assert "weights of unknown origin (" in lines[4]
    assert lines[5].startswith("never pushed: model ")
    assert lines[5].endswith("(trained)")


def test_an_image_of_the_evaluation_split_is_not_in_the_weights(ask):
    lines = ask("ada").splitlines()
    assert lines[0].startswith("latest: v4 of pets (evaluated;")


def test_the_latest_version_may_never_have_seen_it(breeder, tmp_path, capsys):
    other = ShippedFiles(tmp_path / "other")
    seen, unseen = other.data_set(picture("rex")), other.data_set(picture("tom"))
    config = configuration(tmp_path)
    other.run("one", content="1", version="1", inputs={"examples": seen}, pipeline="a", **config)
    other.run("two", content="2", version="2", inputs={"examples": unseen}, pipeline="b")
    other.write()
    assert main(["impact", "rex", "--metadata", other.location]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("latest: v2 of b (never saw it; ")
    assert lines[1].startswith("older: v1 of a (trained; ")
    assert not any("local_runner.py" in line for line in lines)  # nothing is to be done


def test_a_photo_is_known_by_its_content_and_else_by_its_name(ask, tmp_path):
    (tmp_path / "IMG_1.JPG").write_text("rex")  # the generator's content
    (tmp_path / "rex.jpg").write_text("saved again by another program")
    text = ask(str(tmp_path / "IMG_1.JPG"))
    assert text.startswith("latest: v4 of pets (inherited;")
    assert "by its name" not in text
    text = ask(str(tmp_path / "rex.jpg"))
    assert text.startswith("latest: v4 of pets (inherited;")
    assert "by its name alone: no data set has its content" in text


def test_an_unreadable_photo_is_an_error(ask, tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "rex.jpg").write_text("rex")
    monkeypatch.setattr("pipeline.lineage.subject.sha256_of", refuse)
    assert ask(str(tmp_path / "rex.jpg"), code=2) == ""


def test_each_place_has_a_latest_of_its_own_or_it_is_said(tmp_path, capsys):
    made = ShippedFiles(tmp_path)
    seen = {"inputs": {"examples": made.data_set(picture("rex"))}}
    made.run("one", content="1", version="1", to="shop", **seen)
    made.run("two", content="2", version="1", to="farm", **seen)
    made.write()

    def told():
        assert main(["impact", "rex", "--metadata", made.location]) == 0
        lines = capsys.readouterr().out.splitlines()
        return [line for line in lines if line.startswith(("latest", "older"))]

    assert [line.partition(" (trained")[0] for line in told()] == [
        "latest: v1 of pets", "latest: v1 of pets"
    ]  # fmt: skip
    (tmp_path / "shop" / "latest").unlink()
    latest, unknown, older = told()
    assert latest.startswith("latest: v1 of pets (trained; ")
    assert unknown.startswith("latest: nobody knows, ")
    assert unknown.endswith(f" in {tmp_path / 'shop'}")
    assert older.startswith("older: v1 of pets (trained; ")
    for folder in ("shop", "farm"):
        shutil.rmtree(tmp_path / folder)
    assert told()[0] == "latest: nobody knows, no `latest` leads to a version of this store"


def test_two_photos_of_one_name_are_told_apart(tmp_path, capsys):
    made = ShippedFiles(tmp_path)
    for digest in ("one", "another"):
        images = {**picture("rex"), "sha256": sha256(digest)}
        made.run(digest, content=digest, inputs={"examples": made.data_set(images)})
    made.write()
    assert main(["impact", "rex.jpg", "--metadata", made.location]) == 0
    out = capsys.readouterr().out
    assert "2 different pictures go by this name" in out
    for digest in ("one", "another"):
        assert f"(train): images/rex.jpg, sha256 {sha256(digest)[:12]}" in out


def test_several_photos_are_one_answer(ask):
    lines = ask("rex", "ada", "rex.jpg").splitlines()
    assert lines[0].startswith("latest: v4 of pets (inherited;")
    assert [line for line in lines if line.startswith("never saw")] == []
    assert [line for line in lines if line.startswith("older: v1 of pets (evaluated")]
    assert [line.partition(":")[0] for line in lines if line.startswith("image ")] == [
        "image rex", "image ada", "image rex.jpg"
    ]  # fmt: skip


def test_a_photo_whose_name_is_a_number_is_no_artifact(tmp_path, capsys):
    made = ShippedFiles(tmp_path)
    examples = made.data_set(picture("000000000001"), picture("2"), picture("3.5"))
    made.run("one", content="1", version="1", inputs={"examples": examples})
    made.write()

    def asked(x):
        code = main(["impact", x, "--metadata", made.location])
        return code, capsys.readouterr()

    for x in ("000000000001", "3.5", "image:2"):
        code, told = asked(x)
        assert code == 0
        assert f"image {x.removeprefix('image:')}: 1 model" in told.out
    assert asked("1")[0] == asked("artifact:2")[0] == 0
    code, told = asked("2")
    assert code == 2
    assert "artifact:2" in told.err
    assert "image:2" in told.err


def test_a_photo_that_nobody_knows_is_no_all_clear(ask):
    assert "not found: nobody.jpg" in ask("rex", "nobody.jpg", code=2)
    assert ask("nobody.jpg", "no.jpg", code=2) == ""


def test_the_json_of_one_photo_and_of_several(ask):
    one = json.loads(ask("rex", "--json"))
    assert [push["version"] for push in one["latest"]] == ["4"]
    several = json.loads(ask("rex", "ada", "--json"))
    assert several[0] == one
    assert len(several) == 2


def test_the_table_has_a_row_for_each_photo_and_version(ask):
    rows = list(csv.DictReader(io.StringIO(ask("rex", "ada", "--csv"))))
    told = {(row["x"], row["version"]): (row["how"], row["state"]) for row in rows}
    assert told["rex", "4"] == ("inherited", "latest")
    assert told["rex", "1"] == ("never saw it", "older")
    assert told["ada", "1"] == ("evaluated", "older")
    assert told["rex", "5"] == ("cannot tell", "older")
    assert told["rex", ""] == ("trained", "never pushed")
    assert {row["sha256"] for row in rows if row["version"] == "4"} == {sha256("4")}
    assert {row["image_sha256"] for row in rows if row["x"] == "rex"} == {sha256("rex")}


def test_the_table_does_not_steer_a_terminal(ask):
    assert "gone\\x1b[31m\\udcff.jpg,,not found," in ask(
        "gone\x1b[31m\udcff.jpg", "rex", "--csv", code=2
    )


def test_two_forms_at_once_are_an_error(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["impact", "rex", "--csv", "--json"])
    assert "--csv: not allowed with" in capsys.readouterr().err


def command_of(text):
    """The commands at the end of an answer: what writes the lists, and what trains."""
    shown = text.partition("without the pictures, run:\n")[2].replace("\\\n", "")
    commands = [shlex.split(part) for part in shown.split(" && ")]
    for command in commands:
        assert command.pop(0) in (sys.executable, ".venv/bin/python")
    return commands


def test_the_command_trains_without_the_photo(ask, breeder, tmp_path, monkeypatch, capsys):
    """Asked of what the latest version saw itself: the list of images is left without it."""
    monkeypatch.chdir(tmp_path)
    lists, train = command_of(ask("tom"))
    assert lists[:2] == ["-m", "pipeline.lineage"]
    assert main(lists[2:]) == 0
    capsys.readouterr()
    assert train.pop(0) == "local_runner.py"
    config = make_config(local_runner.parse_arguments(train))
    assert config.data.path == str(tmp_path / "pets")
    assert config.data.eval.endswith("eval.txt")
    assert (tmp_path / config.data.train).read_text() == "kim\n"
    assert (tmp_path / config.data.eval).read_text() == "ada\n"
    assert config.warm_start.weights == ""  # version 3 saw it, too
    assert (config.training.seed, config.evaluation.min_map50) == (3, 0.8)


def test_the_command_withdraws_all_that_saw_the_photo(ask, breeder):
    [shown] = ask("rex").partition("has to do with it, run:\n")[2].partition("\n\n")[0].split("\n")
    words = shlex.split(shown)
    assert words[1:3] == ["-m", "pipeline.publish"]
    found = publish._parse(words[3:])
    assert (found.verb, sorted(found.version)) == ("withdraw", ["2", "3", "4"])
    assert found.push_to == str(breeder.folder / "pushed")
    assert (found.metadata, found.reason) == (breeder.location, "a photograph was withdrawn")


def test_only_what_is_there_and_about_a_photo_is_withdrawn(ask, breeder, tmp_path):
    assert "withdraw" not in ask("run:three")
    shutil.rmtree(tmp_path / "pushed" / "3")
    shutil.rmtree(tmp_path / "pushed" / "2")
    assert "-m pipeline.publish withdraw 4 --push-to " in ask("rex")
    shutil.rmtree(tmp_path / "pushed" / "4")
    assert "withdraw" not in ask("rex")


def test_what_was_inherited_is_not_inherited_again(ask, tmp_path):
    """Version 4's own images are innocent: only the weights must be others."""
    (train,) = command_of(ask("rex"))
    config = make_config(local_runner.parse_arguments(train[1:]))
    assert config.warm_start.weights == ""
    assert (config.data.path, config.data.train) == (str(tmp_path / "pets"), "")


def test_a_run_with_lists_is_repeated_with_them(tmp_path, capsys):
    """Only its weights saw the photo, which may still lie among its data."""
    made = ShippedFiles(tmp_path)
    seen = {"inputs": {"examples": made.data_set(picture("rex"))}}
    base = made.run("one", content="1", version="1", **seen, **configuration(tmp_path))
    config = configuration(tmp_path, weights=str(tmp_path / "one"))
    config["data"] |= {"train": "/lists/train.txt", "eval": "/lists/eval.txt"}
    kept = {"examples": made.data_set(picture("tom")), "base_model": base["model"]}
    command = f"{COMMAND} --train lists/train.txt --eval lists/eval.txt --warm-start one"
    made.run("two", content="2", version="2", inputs=kept, command=command, **config)
    made.write()
    assert main(["impact", "rex", "--metadata", made.location]) == 0
    (train,) = command_of(capsys.readouterr().out)
    found = make_config(local_runner.parse_arguments(train[1:]))
    assert (found.data.train, found.data.eval) == ("/lists/train.txt", "/lists/eval.txt")
    assert found.warm_start.weights == ""


def test_no_list_can_name_an_image_with_a_space(tmp_path, capsys):
    made = ShippedFiles(tmp_path)
    images = [picture("my cat"), picture("tom"), picture("ada", "eval")]
    seen = {"inputs": {"examples": made.data_set(*images)}, **configuration(tmp_path)}
    made.run("one", content="1", version="1", command=COMMAND, **seen)
    made.write()
    assert main(["impact", "tom", "--metadata", made.location]) == 0
    assert "no list can name images with spaces" in capsys.readouterr().out
    assert main(["impact", "tom", "--metadata", made.location, "--lists", "x"]) == 2
    assert "no list can name images with spaces" in capsys.readouterr().err


def test_many_data_sets_have_the_answer_of_few(tmp_path, monkeypatch):
    made = ShippedFiles(tmp_path)
    for number in range(25):
        split = "eval" if number % 5 == 0 else "train"
        images = [picture("tom"), picture("rex", split)] if number % 4 else [picture("tom")]
        read = {"examples": made.data_set(*images)}
        made.run(f"run-{number}", content=str(number), inputs=read)
    backend = made.write()
    monkeypatch.setattr(impact_module, "_MANY_DATA_SETS", 10)
    many = impact_module.impact(backend, "rex").ways
    monkeypatch.setattr(impact_module, "_MANY_DATA_SETS", 1000)
    few = impact_module.impact(open_backend(made.location), "rex").ways
    expected = {
        made.made[f"run-{number}"]["model"]: "trained" if number % 5 else "evaluated"
        for number in range(25)
        if number % 4
    }
    assert many == few == expected
