"""`verify` tells the shipped file from its training inputs, here and on gs://.

What cannot be read is `cannot tell`, never intact and never gone.
"""

import hashlib
import json

import pytest

from benchmarks.lineage_store import sha256
from benchmarks.lineage_writer import Writer
from pipeline.files import hash_together
from pipeline.lineage import places
from pipeline.lineage.__main__ import main
from pipeline.metadata import store
from pipeline.metadata.facts import RECORD_TYPE
from tests.pipeline.vertex.conftest import cloud, private_key

__all__ = ["cloud", "private_key"]

FILES = {"detect.tflite": b"file", "labels.txt": b"cat\n", "detect_raw.tflite": b"raw"}
MANIFEST = json.dumps(
    {"files": {name: {"sha256": sha256(text.decode())} for name, text in FILES.items()}}
).encode()
IMAGES = {"cat_1": b"a picture", "cat_2": b"another"}


class Here:
    """A root on this machine."""

    def __init__(self, folder):
        self.root = str(folder)
        self.folder = folder

    def put(self, name, content):
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(content)

    def remove(self, name):
        (self.folder / name).unlink()

    def point_to(self, version):
        (self.folder / "pushed" / "latest").symlink_to(version)


class InBucket:
    """A root in a bucket."""

    root = "gs://my-bucket/pets"

    def __init__(self, cloud):
        self.objects = cloud.objects

    def put(self, name, content):
        self.objects["my-bucket", f"pets/{name}"] = (content, 1)

    def remove(self, name):
        del self.objects["my-bucket", f"pets/{name}"]

    def point_to(self, version):
        self.put("pushed/latest", json.dumps({"version": version}).encode())


class AnyWriter(Writer):
    def folder(self, node, channel):
        return f"{self._root}/{node}/{channel}/{self.num_executions + 1}"


@pytest.fixture(params=["here", "in a bucket"])
def place(request, tmp_path):
    if request.param == "here":
        return Here(tmp_path / "pets")
    return InBucket(request.getfixturevalue("cloud"))


@pytest.fixture
def ask(tmp_path, place, capfd):
    """Asks about one run, from the pictures to the push; gives exit code, answer and error."""
    location = str(tmp_path / "metadata.sqlite")
    lines = [
        {"id": name, "file": f"images/{name}.jpg", "split": "train", "annotation_sha256": "a",
         "sha256": hashlib.sha256(content).hexdigest(), "classes": {}}
        for name, content in IMAGES.items()
    ]  # fmt: skip
    prints = (f"{i['split']}\t{i['id']}\t{i['sha256']}\ta\n" for i in lines)
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()

    writer = AnyWriter(store.open_store(store.connection_config(location)), place.root)
    run = writer.run("run-1", 4)
    recorded = {}

    def execute(node, channel, type_name, inputs, files, facts=None, **properties):
        folder = writer.folder(node, channel).removeprefix(f"{place.root}/")
        artifact = writer.artifact(type_name, node, channel, **(facts or {}))
        writer.execute(node, run, inputs, {channel: artifact}, cached=False, millis=1, **properties)
        for name, content in files.items():
            place.put(f"{folder}/{name}", content)
        recorded[artifact] = {
            name: {"sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()
        }
        return artifact

    fingerprint = hashlib.sha256("".join(sorted(prints)).encode()).hexdigest()
    examples = execute(
        "ExampleGen", "examples", "Examples", {}, {"images.jsonl": text},
        {"data_fingerprint": fingerprint}, input_base=f"{place.root}/data",
    )  # fmt: skip
    model = execute("Trainer", "model", "Model", {"examples": examples}, {"weights": b"w"})
    digests = {
        "sha256": sha256("file"),
        "raw_sha256": sha256("raw"),
        "files_sha256": hash_together(FILES),
    }
    made = execute(
        "TFLiteRewriter", "shipping_model", "Model", {"model": model}, FILES,
        {**digests, "size_bytes": 4},
    )  # fmt: skip
    execute(
        "Pusher", "pushed_model", "PushedModel", {"model": made},
        {**FILES, "manifest.json": MANIFEST},
        {**digests, "pushed": 1, "pushed_version": "1",
         "pushed_destination": f"{place.root}/pushed/1"},
    )  # fmt: skip
    for artifact, files in recorded.items():
        writer.context(RECORD_TYPE, f"files/{artifact}", json=json.dumps(files))
    writer.write()
    for name, content in {**FILES, "manifest.json": MANIFEST}.items():
        place.put(f"pushed/1/{name}", content)
    for name, content in IMAGES.items():
        place.put(f"data/images/{name}.jpg", content)
    place.point_to("1")

    def run_command(*arguments):
        for function in (places._client, places._versions):
            function.cache_clear()
        capfd.readouterr()
        code = main([*arguments, "--metadata", location])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return run_command


@pytest.fixture(params=["run-1", sha256("file"), "artifact:4"])
def x(request):
    return request.param


def test_what_nobody_touched_is_intact(ask, x):
    code, out, _ = ask("verify", x)
    assert out.splitlines() == [
        "shipped file: intact, 4 files",
        "training inputs: intact, 11 files",
    ]
    assert code == 0


def test_a_withdrawn_picture_leaves_the_shipped_file_intact(ask, place):
    place.remove("data/images/cat_1.jpg")
    code, out, _ = ask("verify", "run-1")
    missing, shipped, inputs = out.splitlines()
    assert missing.startswith(f"missing  {place.root}/data/images/cat_1.jpg")
    assert shipped == "shipped file: intact, 4 files"
    assert inputs == "training inputs: not intact"
    assert code == 3


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
@pytest.mark.parametrize("content", [b"dog\n", None])
def test_a_shipped_file_that_changed_is_found(ask, place, name, content):
    if content is None:
        place.remove(f"pushed/1/{name}")
    else:
        place.put(f"pushed/1/{name}", content)
    code, out, _ = ask("verify", "artifact:4")
    finding, shipped, inputs = out.splitlines()
    assert f"{'changed' if content else 'missing'}  {place.root}/pushed/1/{name}: " in finding
    assert (shipped, inputs) == ("shipped file: not intact", "training inputs: intact, 11 files")
    assert code == 1


def test_a_form_that_was_not_shipped_is_an_addition(ask, place):
    place.put("pushed/1/detect_float16.tflite", b"other weights")
    place.put("pushed/1/notes.txt", b"for the shop")
    code, out, _ = ask("verify", "artifact:4")
    assert f"added    {place.root}/pushed/1/detect_float16.tflite: " in out
    assert "notes.txt" not in out
    assert code == 1


@pytest.mark.parametrize("place", ["here"], indirect=True)
@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_of_a_pushed_folder_is_no_unknown_one(ask, place, name):
    place.put(f"pushed/1/{name}", b"another")
    code, out, _ = ask("verify", f"{place.root}/pushed/1/{name}")
    assert f"changed  {place.root}/pushed/1/{name}: " in out
    assert code == 1


@pytest.mark.parametrize("name", ["detect.tflite", "detect_raw.tflite"])
def test_every_shipped_form_is_found_by_its_hash_or_the_beginning_of_it(ask, name):
    digest = hashlib.sha256(FILES[name]).hexdigest()
    for x in (digest, digest[:8], digest.upper()):
        code, out, _ = ask("trace", x)
        assert code == 0
        assert out.startswith("PushedModel artifact 4")


def test_a_shipped_file_is_intact_though_what_the_pipeline_kept_of_it_is_gone(ask, place):
    for name in (*FILES, "manifest.json"):
        place.remove(f"Pusher/pushed_model/4/{name}")
    code, out, _ = ask("verify", "artifact:4")
    assert "shipped file: intact, 4 files" in out
    assert code == 3
    place.put("pushed/1/manifest.json", MANIFEST.replace(b"{", b" {", 1))
    assert "shipped file: not intact" in ask("verify", "artifact:4")[1]


def test_labels_and_both_manifests_cannot_change_together(ask, place):
    labels = b"dog\n"
    place.put("pushed/1/labels.txt", labels)
    manifest = MANIFEST.replace(sha256("cat\n").encode(), sha256("dog\n").encode())
    for name in ("pushed/1", "Pusher/pushed_model/4"):
        place.put(f"{name}/manifest.json", manifest)
    code, out, _ = ask("verify", "artifact:4")
    assert f"{place.root}/pushed/1/labels.txt: expected sha256 " in out
    assert "shipped file: not intact" in out
    assert code == 1


@pytest.mark.parametrize("content", [b"{}", b"[]\n", b"\xff", b'{"id": "cat_1"}\n'])
def test_a_damaged_list_of_images_is_a_change(ask, place, content):
    place.put("ExampleGen/examples/1/images.jsonl", content)
    code, out, _ = ask("verify", "artifact:1")
    assert f"changed  {place.root}/ExampleGen/examples/1/images.jsonl: " in out
    assert code == 1


def test_other_artifacts_are_their_own_subject(ask, place):
    place.remove("data/images/cat_1.jpg")
    code, out, _ = ask("verify", "artifact:1")
    assert out.splitlines()[1:] == ["Examples 1: not intact"]
    assert code == 1


def test_a_picture_and_its_version_are_found(ask):
    for name in ("cat_1", hashlib.sha256(IMAGES["cat_1"]).hexdigest()):
        code, out, _ = ask("impact", name)
        assert code == 0
        assert "images/cat_1.jpg" in out
        assert out.startswith("latest: v1 (trained; ")


def test_a_version_that_is_gone_is_said_to_be_gone(ask, place):
    for name in (*FILES, "manifest.json"):
        place.remove(f"pushed/1/{name}")
    if isinstance(place, Here):
        (place.folder / "pushed" / "1").rmdir()
    assert "/pushed/1 (gone)" in ask("trace", "artifact:4")[1]


def test_a_version_without_a_latest_is_there(ask, place):
    place.remove("pushed/latest")
    assert "/pushed/1 (there)" in ask("trace", "artifact:4")[1]


def test_a_version_whose_number_was_given_again_is_not_the_latest(ask, place):
    other = json.dumps({"files": {"detect.tflite": {"sha256": sha256("another")}}})
    place.put("pushed/1/manifest.json", other.encode())
    assert "/pushed/1 (there)" in ask("trace", "artifact:4")[1]


def test_a_pushed_folder_is_a_subject(ask, place):
    code, out, _ = ask("verify", f"{place.root}/pushed/1")
    assert "shipped file: intact, 4 files" in out
    assert code == 0


@pytest.mark.parametrize("place", ["in a bucket"], indirect=True)
def test_without_credentials_nobody_can_tell(ask, monkeypatch, tmp_path):
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    code, out, _ = ask("verify", "run-1")
    assert "cannot be read: no credentials for Google Cloud" in out
    assert "shipped file: cannot tell, no file could be checked" in out
    assert "training inputs: cannot tell, no file could be checked" in out
    assert "intact" not in out
    assert code == 2
    code, out, error = ask("impact", "cat_1")
    assert (code, out) == (2, "")
    assert "cannot be read (no credentials for Google Cloud" in error
    assert "/pushed/1 (cannot tell whether it is there)" in ask("trace", "artifact:4")[1]


@pytest.mark.parametrize("place", ["in a bucket"], indirect=True)
def test_a_picture_that_cannot_be_read_is_unknown(ask, monkeypatch):
    read = places.read

    def forbidden(uri):
        if uri.endswith("labels.txt"):
            raise places.CannotTellError(uri, "forbidden")
        return read(uri)

    monkeypatch.setattr(places, "read", forbidden)
    code, out, _ = ask("verify", "artifact:4")
    assert "unknown  gs://my-bucket/pets/pushed/1/labels.txt: cannot be read: forbidden" in out
    assert "shipped file: intact, 3 files; cannot tell for 1 artifact" in out
    assert code == 2
