"""Records with the Object Detection API's keys: which become examples, and why others do not."""

import gzip
import os
import struct

import google_crc32c
import pytest

from pipeline import features
from pipeline.data.census import BROKEN_FILE, EMPTY_FILE, Checked
from pipeline.data.labelled_image import LabelledImage
from pipeline.data.readers.tfrecord import (
    ShardItem,
    find,
    find_shards,
    read_shard,
    recognise,
)
from pipeline.data.readers.tree import walk
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


def test_a_file_name_that_is_not_utf8_survives_beside_an_id_that_is(read):
    checked, image = read(
        **{features.SOURCE_ID: [b"7.jpg"], features.IMAGE_FILENAME: [b"caf\xe9.jpg"]}
    )
    assert image.filename.encode("utf-8", "surrogateescape") == b"caf\xe9.jpg"
    assert checked.image_id == "7"


@pytest.mark.parametrize(
    "changes",
    [
        {features.SOURCE_ID: [b"caf\xe9.jpg"]},
        {features.SOURCE_ID: None, features.IMAGE_FILENAME: [b"caf\xe9.jpg"]},
        {features.CLASS_TEXT: [b"cat", b"caf\xe9.jpg"]},
    ],
)
def test_names_that_are_not_utf8_are_refused_with_the_record(read, changes):
    checked, image = read(**changes)
    assert image is None
    assert (checked.file, checked.kind) == ("a.record#0", "not_utf8")
    assert f"UTF-8 in {list(changes)[-1]}" in checked.reason
    assert r"b'caf\xe9.jpg'" in checked.reason


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
        ({features.IMAGE_ENCODED: [picture(1, image_format="GIF")[:-20]]}, "unreadable_image"),
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


def test_a_picture_over_the_limit_is_unusable(tmp_path):
    write_records(tmp_path / "a.record", [serialize(od_record(IMAGE))])
    [(checked, _)] = read_shard(ShardItem(str(tmp_path), "a.record", ""), max_megapixels=0.0007)
    assert checked.kind == "too_large"


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


def gzipped(tmp_path, records=4):
    write_records(tmp_path / "a.record", [serialize(od_record(IMAGE))] * records)
    return gzip.compress((tmp_path / "a.record").read_bytes())


@pytest.mark.parametrize("lost", [1, 8, 9, 30, 300])
def test_a_truncated_gzip_file_is_noticed(tmp_path, lost):
    (tmp_path / "a.record.gz").write_bytes(gzipped(tmp_path)[:-lost])
    *_, (last, _) = read_shard(ShardItem(str(tmp_path), "a.record.gz", ""))
    assert last.kind == BROKEN_FILE


@pytest.mark.parametrize("kept", [5, 12, 13, -1])
def test_a_gzip_file_of_a_truncated_file_is_noticed(tmp_path, kept):
    whole = gzip.decompress(gzipped(tmp_path))
    (tmp_path / "a.record.gz").write_bytes(gzip.compress((whole + whole)[: len(whole) + kept]))
    *records, (last, _) = read_shard(ShardItem(str(tmp_path), "a.record.gz", ""))
    assert len(records) == (4 if kept > 0 else 3)
    assert last.kind == BROKEN_FILE


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_record_longer_than_its_file_is_noticed(tmp_path, suffix):
    content = gzip.decompress(gzipped(tmp_path))
    length = struct.pack("<Q", 1 << 40)
    crc = google_crc32c.value(length)
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    content += length + struct.pack("<I", masked) + b"short"
    name = f"b.record{suffix}"
    (tmp_path / name).write_bytes(gzip.compress(content) if suffix else content)
    *records, (last, _) = read_shard(ShardItem(str(tmp_path), name, ""))
    assert len(records) == 4
    assert last.kind == BROKEN_FILE


@pytest.mark.parametrize("position", [3, 9, 40, -2])
def test_a_flipped_bit_is_noticed(tmp_path, position):
    content = bytearray(gzip.decompress(gzipped(tmp_path, records=1)))
    content[position] ^= 4
    (tmp_path / "b.record").write_bytes(content)
    [(checked, _)] = read_shard(ShardItem(str(tmp_path), "b.record", ""))
    assert checked.kind == BROKEN_FILE


@pytest.mark.parametrize(
    ("name", "content"), [("a.record", b""), ("a.record.gz", b""), ("b.gz", gzip.compress(b""))]
)
def test_a_file_without_records_is_said_to_be_empty(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    [(checked, image)] = read_shard(ShardItem(str(tmp_path), name, ""))
    assert image is None
    assert checked == Checked(file=name, kind=EMPTY_FILE, reason="a TFRecord file without records")


def test_a_pipe_in_place_of_a_shard_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.record")
    [(checked, _)] = read_shard(ShardItem(str(tmp_path), "a.record", ""))
    assert checked.kind == BROKEN_FILE
    assert "a pipe or a device" in checked.reason


def test_a_pattern_without_files_is_rejected(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.record\. Received: none\. Check the path"):
        find_shards(str(tmp_path), {"examples": "nowhere.record"})


def by_id(**changes):
    values = od_record(IMAGE) | {features.CLASS_TEXT: [], "image/object/class/label": [2, 5]}
    return serialize(values | changes)


LABEL_MAP = "item { id: 2 name: 'cat' }\nitem { name: \"dog\" id: 5 }\n"


def read_folder(root):
    tree = walk(str(root), "")
    inputs = find(tree, recognise(tree))
    return [(item, *pair) for item in inputs.items for pair in inputs.read(item)]


def test_classes_by_id_are_named_by_the_label_map(tmp_path):
    write_records(tmp_path / "a.tfrecord", [by_id()])
    (tmp_path / "pets_label_map.pbtxt").write_text(LABEL_MAP)
    [(_, _, image)] = read_folder(tmp_path)
    assert image == IMAGE
    inputs = find_shards(str(tmp_path), {"examples": "*.tfrecord"})
    [(_, image)] = inputs.read(inputs.items[0])
    assert image == IMAGE


def test_classes_by_id_without_a_name_are_refused(tmp_path):
    write_records(tmp_path / "a.tfrecord", [by_id()])
    [(_, checked, _)] = read_folder(tmp_path)
    assert (checked.kind, "no label map (.pbtxt)" in checked.reason) == ("no_class", True)
    (tmp_path / "pets_label_map.pbtxt").write_text("item { id: 2 name: 'cat' }")
    [(_, checked, _)] = read_folder(tmp_path)
    assert checked.reason == "the label map has no name for class 5"


def test_a_label_map_with_an_endless_number_is_an_error(tmp_path):
    write_records(tmp_path / "a.record", [serialize(od_record(IMAGE))])
    (tmp_path / "a.pbtxt").write_text(f"item {{ id: {'1' * 5000} name: 'cat' }}")
    with pytest.raises(UserError, match=r"Expected a label map. Received: .*a\.pbtxt"):
        find_shards(str(tmp_path), {"examples": "a.record"})


def test_label_maps_that_contradict_each_other_are_an_error(tmp_path):
    write_records(tmp_path / "a.tfrecord", [by_id()])
    for name, text in (("a.pbtxt", LABEL_MAP), ("b.pbtxt", LABEL_MAP.replace("dog", "cow"))):
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=r"one label map .* a\.pbtxt and b\.pbtxt, which differ"):
        read_folder(tmp_path)


def test_names_of_folders_and_files_are_the_split(tmp_path):
    for path in ("train/a.tfrecord", "valid/b.tfrecord", "pets_test.record-00000-of-00001"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        write_records(tmp_path / path, [serialize(od_record(IMAGE))])
    assert {item.shard[0]: item.side for item, _, _ in read_folder(tmp_path)} == {
        "t": "train", "v": "eval", "p": "test",
    }  # fmt: skip


def test_a_file_of_any_name_is_known_by_its_first_bytes(tmp_path):
    write_records(tmp_path / "pets", [serialize(od_record(IMAGE))])
    (tmp_path / "notes").write_text("nothing of the kind, but long enough")
    assert [item.shard for item, _, _ in read_folder(tmp_path)] == ["pets"]


def test_flags_are_read(read):
    _, image = read(**{features.DIFFICULT: [1, 0], features.CROWD: [0, 1]})
    assert (image.difficult, image.crowd) == ((True, False), (False, True))
    assert read(**{features.DIFFICULT: [0, 0], features.CROWD: []})[1] == IMAGE


def test_flags_that_are_not_one_a_box_are_refused(read):
    checked, image = read(**{features.CROWD: [1]})
    assert image is None
    assert checked.kind == "malformed_record"
    assert checked.reason == f"2 boxes have 1 values in {features.CROWD}"
