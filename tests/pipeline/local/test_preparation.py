import hashlib
import os
import zipfile

import pytest

from pipeline import presets
from pipeline.config import override
from pipeline.errors import UserError
from pipeline.fingerprint import ROOT
from pipeline.local.preparation import complete
from pipeline.local.workdir import Workdir

OWN = override(presets.load("small_data_cpu"), {"data.path": "pets"})


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A work directory beside the folders of a data set."""
    monkeypatch.chdir(tmp_path)
    for name in ("images", "annotations/xmls"):
        (tmp_path / "pets" / name).mkdir(parents=True)
    return Workdir("work")


def test_locations_are_filled_in_and_absolute(places, tmp_path):
    config = complete(OWN, places)
    assert config.data.path == str(tmp_path / "pets")
    assert config.push.destination == str(tmp_path / "work" / "pushed")
    assert config.execution.pipeline_root == str(tmp_path / "work" / "pipeline_root")
    assert config.execution.beam_args
    config = complete(override(OWN, {"push.destination": "out"}), places)
    assert config.push.destination == str(tmp_path / "out")


def test_urls_stay_as_they_are(places):
    urls = {"push.destination": "gs://bucket/pushed", "data.path": "gs://bucket/data"}
    config = complete(override(OWN, urls), places)
    assert {name: config.flat()[name] for name in urls} == urls


def test_an_unwritable_push_destination_is_found_before_training(places, tmp_path):
    (tmp_path / "file").write_text("")
    config = override(OWN, {"push.destination": "file/pushed"})
    with pytest.raises(UserError, match=r"--push-to .*file/pushed, where .*file is not a folder"):
        complete(config, places)


def test_the_presets_schemas_are_found_from_any_folder(places, tmp_path):
    named = override(OWN, {"schema_dir": "schema/demo"})
    assert complete(named, places).schema_dir == str(ROOT / "schema" / "demo")
    (tmp_path / "schema" / "demo").mkdir(parents=True)
    (tmp_path / "schema" / "demo" / "schema.pbtxt").write_text("")
    assert complete(named, places).schema_dir == str(tmp_path / "schema" / "demo")


def test_the_content_of_a_warm_start_is_part_of_the_configuration(places, tmp_path):
    (tmp_path / "w.h5").write_bytes(b"one")
    config = override(OWN, {"warm_start.weights": "w.h5"})
    first = complete(config, places).warm_start
    assert first.weights == str(tmp_path / "w.h5")
    (tmp_path / "w.h5").write_bytes(b"two")
    assert complete(config, places).warm_start.sha256 != first.sha256
    keras = override(OWN, {"warm_start.weights": "imagenet"})
    assert complete(keras, places).warm_start == keras.warm_start


def test_a_warm_start_with_another_sha256_is_rejected(places, tmp_path):
    (tmp_path / "w.h5").write_bytes(b"one")
    config = override(OWN, {"warm_start.weights": "w.h5", "warm_start.sha256": "5a"})
    with pytest.raises(UserError, match=r"with warm_start\.sha256=5a\. .*w\.h5 with 7692c3"):
        complete(config, places)
    right = hashlib.sha256(b"one").hexdigest()
    config = override(config, {"warm_start.sha256": right})
    assert complete(config, places).warm_start.sha256 == right


def test_an_archive_is_unpacked_once_into_a_folder_named_after_its_content(places, tmp_path):
    def pack(name, content):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("export/images/a.jpg", content)
            archive.writestr("export/labels/a.txt", "")
        return complete(override(OWN, {"data.path": name}), places).data.path

    first = pack("a.zip", "one")
    sha256 = hashlib.sha256((tmp_path / "a.zip").read_bytes()).hexdigest()
    assert first == str(tmp_path / "work" / "unpacked" / sha256 / "export")
    changed = os.stat(f"{first}/images").st_ctime_ns
    (tmp_path / "b.zip").write_bytes((tmp_path / "a.zip").read_bytes())
    same = complete(override(OWN, {"data.path": "b.zip"}), places).data.path
    assert (same, os.stat(f"{same}/images").st_ctime_ns) == (first, changed)
    assert pack("a.zip", "two") != first
    assert complete(override(OWN, {"data.path": "c.zip"}), places).data.path.endswith("c.zip")
