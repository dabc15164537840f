"""A workdir that was moved, or copied, with the data in it: before and after its next run."""

import json
import shutil

import pytest

from benchmarks.lineage_store import sha256, write_list
from benchmarks.lineage_writer import Writer
from pipeline.files import hash_files
from pipeline.lineage.__main__ import main
from pipeline.local.workdir import Workdir
from pipeline.metadata import store
from pipeline.metadata.facts import RECORD_TYPE
from pipeline.metadata.image_lists import data_fingerprint
from pipeline.metadata.relocation import MARKER
from tests.pipeline.lineage.shipped_files import picture

FILE = "file"


def open_store(root):
    return store.open_store(store.connection_config(str(root / "metadata.sqlite")))


def fill(root):
    """One run on the demo's pictures, which the runner draws in the workdir."""
    places = Workdir(str(root))
    images = [picture("rex"), picture("tom"), picture("ada", "eval")]
    for image in images:
        path = root / "data" / "demo" / image["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(image["id"])  # what its sha256 is of
    opened = open_store(root)
    writer = Writer(opened, places.pipeline_root)
    run = writer.run(
        "run-1", 5, pipeline="demo", preset="demo", command="local_runner.py", configuration="c"
    )

    def execute(node, channel, type_name, inputs, facts, files=(), **properties):
        folder = writer.folder(node, channel)
        write_list(folder, files)
        artifact = writer.artifact(type_name, node, channel, **facts)
        writer.context(RECORD_TYPE, f"files/{artifact}", json=json.dumps(hash_files(str(folder))))
        outputs = {channel: artifact}
        writer.execute(node, run, inputs, outputs, cached=False, millis=1, **properties)
        return artifact

    examples = execute(
        "ExampleGen", "examples", "Examples", {}, {"data_fingerprint": data_fingerprint(images)},
        images, input_base=str(root / "data" / "demo"),
    )  # fmt: skip
    raw = {"examples": examples}
    transformed = execute("Transform", "transformed_examples", "Examples", raw, {})
    model = execute("Trainer", "model", "Model", {"examples": transformed}, {})
    digest = {"sha256": sha256(FILE)}
    made = execute("TFLiteRewriter", "shipping_model", "Model", {"model": model}, digest)
    version = places.pushed / "1"
    pushed = {"pushed": 1, "pushed_version": "1", "pushed_destination": str(version)}
    execute("Pusher", "pushed_model", "PushedModel", {"model": made}, {**digest, **pushed})
    config = {
        "data": {"path": str(root / "data" / "demo"), "train": "", "eval": ""},
        "execution": {"pipeline_root": str(places.pipeline_root)},
        "push": {"destination": str(places.pushed)},
        "schema_dir": "/project/schema/demo",
        "warm_start": {"weights": ""},
    }
    writer.context(RECORD_TYPE, "configuration/c", json=json.dumps(config))
    writer.write()
    version.mkdir(parents=True)
    (version / "detect.tflite").write_text(FILE)
    (version / "labels.txt").write_text("cat\n")
    (places.pushed / "latest").symlink_to("1")
    name = store.identity(opened, "mine")
    (places.pipeline_root / MARKER).write_text(f"{name}\n{root}\n")


def moved(root):
    return root.rename(root.parent / "new")


def copied(root):
    return shutil.copytree(root, root.parent / "new", symlinks=True)


@pytest.fixture(params=[moved, copied], ids=["moved", "copied"])
def workdir(request, tmp_path):
    fill(tmp_path / "old")
    return request.param(tmp_path / "old")


@pytest.fixture(params=["before its next run", "after it"])
def ask(request, workdir, capsys):
    if request.param == "after it":
        places = Workdir(str(workdir))
        places.bind_to_store(open_store(workdir), str(places.metadata))

    def asked(*arguments):
        capsys.readouterr()
        code = main([*arguments, "--workdir", str(workdir)])
        return code, capsys.readouterr().out

    return asked


def test_its_files_and_pictures_are_checked_where_they_are(ask, workdir):
    code, out = ask("verify", "artifact:1")
    assert (code, out) == (0, "Examples 1: intact, 4 files\n")
    (workdir / "data" / "demo" / "images" / "rex.jpg").write_text("another")
    code, out = ask("verify", "artifact:1")
    assert f"changed  {workdir}/data/demo/images/rex.jpg" in out
    assert code == 1


def test_its_latest_version_is_known(ask, workdir):
    _, out = ask("impact", "rex")
    assert out.startswith(f"latest: v1 of demo (trained; sha256 {sha256(FILE)}) in {workdir}/push")


def test_the_command_trains_in_it(ask, workdir):
    _, out = ask("impact", "rex")
    places = f" --workdir={workdir} --data={workdir}/data/demo --schema=/project/schema/demo "
    assert f"{places}--train=" in out
    assert str(workdir.parent / "old") not in out


def test_a_uri_of_it_is_a_subject(ask, workdir):
    code, out = ask("trace", f"{workdir}/pipeline_root/Pusher/pushed_model/5")
    assert code == 0
    assert f"{workdir}/pushed/1 (latest)" in out
