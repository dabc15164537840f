"""Versions that are withdrawn, in a folder and in a bucket."""

import errno
import json
import os
from pathlib import Path

import pytest

from pipeline import publish
from pipeline.errors import UserError
from pipeline.files import LATEST
from pipeline.metadata import store
from pipeline.metadata.facts import withdrawals
from pipeline.shipping import folder_publisher
from pipeline.shipping.destination import publisher_for
from tests.pipeline.vertex.conftest import cloud, private_key

__all__ = ["cloud", "private_key"]

AT = "2026-11-28T12:00:00+00:00"


def files(content: bytes) -> dict[str, bytes]:
    return {"detect.tflite": content, "labels.txt": b"cat\n"}


@pytest.fixture(params=["folder", "bucket"])
def destination(request, tmp_path):
    if request.param == "folder":
        return str(tmp_path / "pushed")
    request.getfixturevalue("cloud")
    return "gs://my-bucket/pushed/demo"


@pytest.fixture
def publisher(destination):
    """A place with three versions."""
    publisher = publisher_for(destination)
    for content in (b"one", b"two", b"three"):
        publisher.publish(files(content), {"run_id": content.decode(), "metrics": {"mAP50": 0.9}})
    return publisher


def latest(publisher) -> int | None:
    return next((one.version for one in publisher.versions() if one.is_latest), None)


def test_withdrawing_moves_latest_to_the_newest_that_is_left(publisher):
    assert latest(publisher) == 3
    publisher.withdraw("2", "wrong labels", AT)
    assert latest(publisher) == 3
    found = publisher.withdraw("3", "a photograph was withdrawn", AT)
    assert found.withdrawn == {"at": AT, "reason": "a photograph was withdrawn"}
    assert latest(publisher) == 1
    publisher.withdraw("1", "all of them", AT)
    assert latest(publisher) is None
    assert [one.version for one in publisher.versions()] == [3, 2, 1]


def test_a_withdrawn_file_is_never_pushed_there_again(publisher):
    publisher.withdraw("3", "wrong", AT)
    for content in (b"three", b"three"):
        with pytest.raises(UserError, match=r"version 3 in .*wrong.*Nothing is pushed"):
            publisher.publish(files(content), {})
    assert latest(publisher) == 2
    assert publisher.publish(files(b"four"), {}).version == "4"
    assert latest(publisher) == 4


def test_repeating_a_withdrawal_completes_it_and_keeps_the_first_reason(publisher):
    publisher.withdraw("3", "first", AT)
    again = publisher.withdraw("3", "second", "2027-01-01T00:00:00+00:00")
    assert again.withdrawn == {"at": AT, "reason": "first"}


def test_latest_rolls_back_and_forth_without_a_withdrawal(publisher):
    assert publisher.roll_back(None).version == 2
    assert publisher.roll_back(None).version == 1
    with pytest.raises(UserError, match="Expected an earlier version"):
        publisher.roll_back(None)
    assert publisher.roll_back("3").version == latest(publisher) == 3
    publisher.withdraw("2", "wrong", AT)
    with pytest.raises(UserError, match=r"was, at .*wrong"):
        publisher.roll_back("2")
    assert publisher.roll_back(None).version == 1


@pytest.mark.parametrize("version", ["4", "latest", "../1", ""])
def test_an_unknown_version_is_an_error_and_changes_nothing(publisher, version):
    for act in (lambda: publisher.withdraw(version, "x", AT), lambda: publisher.roll_back(version)):
        with pytest.raises(UserError, match="Expected a version with its manifest"):
            act()
    assert latest(publisher) == 3


def test_a_damaged_version_is_never_what_latest_moves_to(tmp_path):
    publisher = publisher_for(str(tmp_path))
    for content in (b"one", b"two", b"three"):
        publisher.publish(files(content), {})
    (tmp_path / "2" / "detect.tflite").write_bytes(b"damaged")
    with pytest.raises(UserError, match="Expected a whole version"):
        publisher.roll_back("2")
    publisher.withdraw("3", "wrong", AT)
    assert os.readlink(tmp_path / LATEST) == "1"


def test_a_push_that_is_faster_stays_the_latest(cloud):
    publisher = publisher_for("gs://my-bucket/pushed/demo")
    for content in (b"one", b"two"):
        publisher.publish(files(content), {})
    key = "my-bucket", "pushed/demo/latest"

    def push_between(name):
        if name.endswith("latest"):
            cloud.storage.before_write = None
            pointer = {"version": "3", "path": "gs://my-bucket/pushed/demo/3"}
            cloud.objects[key] = (json.dumps(pointer).encode(), cloud.objects[key][1] + 1)

    cloud.storage.before_write = push_between
    publisher.withdraw("2", "wrong", AT)
    assert json.loads(cloud.objects[key][0])["version"] == "3"


def ask(capsys, *arguments):
    code = publish.main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command_withdraws_in_the_manifest_and_the_store(tmp_path, capsys):
    publisher = publisher_for(str(tmp_path / "pushed"))
    for content in (b"one", b"two"):
        publisher.publish(files(content), {"run_id": "r", "metrics": {"mAP50": 0.9}})
    store.open_store(store.connection_config(str(tmp_path / "metadata.sqlite")))
    place = ("--workdir", str(tmp_path))
    code, out, err = ask(capsys, "withdraw", "2", "--reason", "wrong labels", *place)
    assert code == 0
    assert "metadata.sqlite knows of no run that pushed this file" in err
    assert f"Latest: version 1, {tmp_path}/pushed/1" in out
    manifest = json.loads((tmp_path / "pushed" / "2" / "manifest.json").read_text())
    assert manifest["withdrawn"]["reason"] == "wrong labels"
    opened = store.open_store(store.connection_config(str(tmp_path / "metadata.sqlite")))
    assert withdrawals(opened) == {
        manifest["files"]["detect.tflite"]["sha256"]: {
            **manifest["withdrawn"],
            "version": "2",
            "destination": str(tmp_path / "pushed"),
        }
    }
    code, out, _ = ask(capsys, "list", *place)
    assert out.splitlines()[1].strip().startswith("withdrawn ")
    assert "1 (latest)" in out
    code, out, _ = ask(capsys, "list", "--json", *place)
    assert [one["latest"] for one in json.loads(out)] == [False, True]
    code, _, err = ask(capsys, "rollback", "2", *place)
    assert code == 2
    assert len(err.splitlines()) == 1


def test_the_command_says_where_no_store_knows_of_it(tmp_path, capsys):
    publisher_for(str(tmp_path / "pushed")).publish(files(b"one"), {})
    code, out, err = ask(capsys, "withdraw", "1", "--reason", "x", "--workdir", str(tmp_path))
    assert code == 0
    assert "none is left" in out
    assert "there is no store" in err
    assert not Path(tmp_path, "pushed", LATEST).is_symlink()


def test_several_versions_are_withdrawn_at_once(tmp_path, capsys):
    publisher = publisher_for(str(tmp_path / "pushed"))
    for content in (b"one", b"two", b"three"):
        publisher.publish(files(content), {})
    store.open_store(store.connection_config(str(tmp_path / "metadata.sqlite")))
    place = ("--workdir", str(tmp_path))
    code, out, _ = ask(capsys, "withdraw", "3", "1", "--reason", "x", *place)
    assert code == 0
    assert [line.split()[1] for line in out.splitlines()] == ["1", "3", "version"]
    assert out.splitlines()[-1] == f"Latest: version 2, {tmp_path}/pushed/2"
    opened = store.open_store(store.connection_config(str(tmp_path / "metadata.sqlite")))
    assert sorted(one["version"] for one in withdrawals(opened).values()) == ["1", "3"]


def test_a_folder_that_cannot_be_written_to_is_listed_and_not_changed(
    tmp_path, capsys, monkeypatch
):
    publisher_for(str(tmp_path / "pushed")).publish(files(b"one"), {})

    def read_only(path, mode="r", *rest, **options):
        if "w" in mode:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return open(path, mode, *rest, **options)

    monkeypatch.setattr(folder_publisher, "open", read_only, raising=False)
    place = ("--workdir", str(tmp_path))
    code, out, _ = ask(capsys, "list", *place)
    assert code == 0
    assert out.startswith("1 (latest)")
    code, _, err = ask(capsys, "withdraw", "1", "--reason", "x", *place)
    assert code == 2
    assert "Expected a writable folder" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "change", [{"metrics": [1]}, {"withdrawn": "yes"}, {"withdrawn": {}}, {"files": None}]
)
def test_a_manifest_of_another_shape_is_a_damaged_one(tmp_path, capsys, change):
    publisher = publisher_for(str(tmp_path / "pushed"))
    for content in (b"one", b"two"):
        publisher.publish(files(content), {})
    path = tmp_path / "pushed" / "1" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    place = ("--workdir", str(tmp_path))
    code, out, _ = ask(capsys, "list", *place)
    assert code == 0
    assert "1  has no readable manifest" in out
    for verb in (("rollback", "1"), ("withdraw", "1", "--reason", "x")):
        code, _, err = ask(capsys, *verb, *place)
        assert code == 2
        assert err.count("\n") == 1
        assert "a damaged one" in err


@pytest.mark.parametrize("content", [b"", b"[]", b'{"version": "x"}'])
def test_a_damaged_latest_of_a_bucket_names_nothing_and_can_be_moved(cloud, content):
    publisher = publisher_for("gs://my-bucket/pushed/demo")
    for model in (b"one", b"two"):
        publisher.publish(files(model), {})
    key = "my-bucket", "pushed/demo/latest"
    cloud.objects[key] = (content, cloud.objects[key][1] + 1)
    assert latest(publisher) is None
    assert publisher.roll_back("1").version == latest(publisher) == 1


def test_the_reason_is_one_line(tmp_path, capsys):
    publisher_for(str(tmp_path / "pushed")).publish(files(b"one"), {})
    place = ("--workdir", str(tmp_path))
    assert ask(capsys, "withdraw", "1", "--reason", "wrong\n labels\t", *place)[0] == 0
    assert ask(capsys, "list", *place)[1].endswith(": wrong labels\n")


def test_a_latest_that_is_not_a_symlink_is_not_moved(tmp_path, capsys):
    publisher_for(str(tmp_path / "pushed")).publish(files(b"one"), {})
    (tmp_path / "pushed" / LATEST).unlink()
    (tmp_path / "pushed" / LATEST).mkdir()
    code, _, err = ask(capsys, "rollback", "1", "--workdir", str(tmp_path))
    assert code == 2
    assert "absent or a symlink" in err


def test_listing_nothing_makes_nothing(tmp_path, capsys):
    assert ask(capsys, "list", "--workdir", str(tmp_path / "x"))[0] == 0
    assert not (tmp_path / "x").exists()


def test_a_file_is_no_place_of_versions(tmp_path, capsys):
    (tmp_path / "detect.tflite").write_bytes(b"one")
    code, out, err = ask(capsys, "list", "--push-to", str(tmp_path / "detect.tflite"))
    assert (code, out) == (2, "")
    assert "detect.tflite, a file. Name the folder" in err
