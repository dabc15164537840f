"""Records with the Object Detection API's keys: which become examples, and why others do not."""

import gzip

import pytest

from pipeline import features
from pipeline.data.census import BROKEN_FILE, Checked
from pipeline.data.labelled_image import LabelledImage
from pipeline.data.readers.tfrecord import ShardItem, find_shards, read_shard
from pipeline.errors import UserError
from tests.pipeline.data_samples import od_record, picture, serialize, write_records

IMAGE = LabelledImage("a", "a.jpg", picture(1), "jpeg", 24, 32,
                      ((0.25, 0.25, 0.5, 1.0), (0.0, 0.0, 1.0, 1.0)), ("cat", "dog"))  # fmt: skip


@pytest.fixture
def read(tmp_path):
    def read_values(**changes):
        """Reads IMAGE's record with values changed, or left out where None."""
        values = od_record(IMAGE) | {k.replace("__", "/"): v for k, v in changes.items()}
        record = serialize({key: value for key, value in values.items() if value is not None})
        write_records(tmp_path / "a.record", [record])
        [(checked, image)] = read_shard(ShardItem(str(tmp_path), "a.record", ""))
        return checked, image

    return read_values


def test_a_sound_record_is_read(read):
    checked, image = read()
    assert image == IMAGE
    assert checked == Checked(
        file="a.record#0", image_id="a", picture="a.record#0", sha256=IMAGE.sha256,
        annotation_sha256=IMAGE.annotation_sha256, classes={"cat": 1, "dog": 1},
    )  # fmt: skip


def test_a_digest_in_the_record_is_ignored(read):
    assert read(**{features.IMAGE_SHA256: [b"wrong"]})[0].sha256 == IMAGE.sha256


def test_the_id_is_the_source_id_else_the_file_name(read):
    assert read(**{features.SOURCE_ID: [b"x/7.png"]})[0].image_id == "x/7"
    assert read(**{features.SOURCE_ID: None})[0].image_id == "a"
    assert read(**{features.SOURCE_ID: [b""]})[0].image_id == "a"
    checked, image = read(**{features.IMAGE_FILENAME: None})
    assert (checked.image_id, image.filename) == ("a", "a")


def test_a_file_name_that_is_not_utf8_survives(read):
    checked, image = read(**{features.SOURCE_ID: [b"caf\xe9.jpg"]})
    assert image.image_id.encode("utf-8", "surrogateescape") == b"caf\xe9"
    assert Checked.from_json(checked.to_json()) == checked


def test_a_record_without_objects_is_a_negative(read):
    empty = dict.fromkeys((*features.BOX, features.CLASS_TEXT))
    _, image = read(**empty)
    assert image.boxes == image.names == ()


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({features.SOURCE_ID: None, features.IMAGE_FILENAME: None}, "missing_id"),
        ({features.IMAGE_ENCODED: None}, "missing_image"),
        ({features.IMAGE_ENCODED: [b""]}, "unreadable_image"),
        ({features.IMAGE_ENCODED: [picture(1)[:-20]]}, "unreadable_image"),
        ({features.IMAGE_ENCODED: [picture(1, image_format="GIF")]}, "gif"),
        ({features.IMAGE_HEIGHT: [25]}, "size_mismatch"),
        ({features.XMAX: [0.5]}, "malformed_record"),
        ({features.XMAX: [0.5, 1.1]}, "box_outside"),
        ({features.YMIN: [-0.1, 0.0]}, "box_outside"),
        ({features.XMAX: [8.0, 20.0], features.YMAX: [6.0, 20.0]}, "box_outside"),
        ({features.XMAX: [0.25, 1.0]}, "box_empty"),
        ({features.YMAX: [0.1, 1.0]}, "box_empty"),
        ({features.XMAX: [float("nan"), 1.0]}, "box_not_finite"),
        ({features.CLASS_TEXT: None}, "no_class"),
        ({features.CLASS_TEXT: [b"cat"]}, "no_class"),
        ({features.CLASS_TEXT: [b"cat", b""]}, "no_class"),
        ({features.CLASS_TEXT: [b"cat", b"a\nb"]}, "unfit_class"),
    ],
)
def test_an_unusable_record_has_its_reason(read, changes, kind):
    checked, image = read(**changes)
    assert image is None
    assert checked.kind == kind
    assert checked.file == "a.record#0"


def test_bytes_that_are_not_an_example_are_unusable(tmp_path):
    write_records(tmp_path / "a.record", [b"\xff\xff\xff", serialize(od_record(IMAGE))])
    first, second = read_shard(ShardItem(str(tmp_path), "a.record", "eval"))
    assert first[0].kind == "malformed_record"
    assert second[0].image_id == second[1].image_id == "eval/a"


@pytest.mark.parametrize("more", [5, 13, 200])
def test_a_truncated_file_is_noticed(tmp_path, more):
    path = tmp_path / "a.record"
    write_records(path, [serialize(od_record(IMAGE))] * 4)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4 + more])
    *whole, (last, image) = read_shard(ShardItem(str(tmp_path), "a.record", ""))
    assert len(whole) == 3
    assert image is None
    assert last.kind == BROKEN_FILE
    assert "after 3 records" in last.reason


def test_a_file_that_is_not_a_tfrecord_is_broken(tmp_path):
    (tmp_path / "a.record").write_text("images: none today")
    [(checked, _)] = read_shard(ShardItem(str(tmp_path), "a.record", ""))
    assert checked.kind == BROKEN_FILE


def test_a_gz_suffix_means_gzip(tmp_path):
    path = tmp_path / "a.record"
    write_records(path, [serialize(od_record(IMAGE))])
    (tmp_path / "a.record.gz").write_bytes(gzip.compress(path.read_bytes()))
    [(_, image)] = read_shard(ShardItem(str(tmp_path), "a.record.gz", ""))
    assert image == IMAGE


def test_a_truncated_gzip_file_is_noticed(tmp_path):
    path = tmp_path / "a.record"
    write_records(path, [serialize(od_record(IMAGE))])
    (tmp_path / "a.record.gz").write_bytes(gzip.compress(path.read_bytes())[:-30])
    *_, (last, _) = read_shard(ShardItem(str(tmp_path), "a.record.gz", ""))
    assert last.kind == BROKEN_FILE


def test_a_pattern_without_files_is_rejected(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.record\. Received: none\. Check the path"):
        find_shards(str(tmp_path), {"examples": "nowhere.record"})


def test_a_folder_without_tfrecord_files_is_rejected(tmp_path):
    (tmp_path / "README.md").write_text("stray")
    with pytest.raises(UserError, match="none among the 1 files there"):
        find_shards(str(tmp_path), {"examples": "*"})
