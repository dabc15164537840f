import hashlib

import pytest

from models.weights.source import checkpoint_prefix, files_of, kind_of, read_bytes, sha256_of


@pytest.fixture
def zoo(tmp_path):
    folder = tmp_path / "zoo"
    folder.mkdir()
    for name in ("model.ckpt.index", "model.ckpt.data-00000-of-00001", "model.ckpt.meta", "notes"):
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("imagenet", "imagenet"),
        ("/data/mobilenet_2_5_224_tf_no_top.h5", "keras"),
        ("weights.keras", "keras"),
        ("gs://bucket/detect.tflite", "tflite"),
        ("ssd_mobilenet_v1_coco_2018_01_28.tar.gz", "tf1_checkpoint"),
        ("gs://bucket/zoo/model.ckpt", "tf1_checkpoint"),
        ("workdir/pipeline_root/Trainer/model/7", "detector"),
        ("", "detector"),
    ],
)
def test_kinds_of_warm_starts_are_told_by_their_names(path, expected):
    assert kind_of(path, look=False) == expected


def test_a_folder_with_a_checkpoint_is_one(zoo, tmp_path):
    assert kind_of(str(zoo)) == "tf1_checkpoint"
    assert kind_of(str(tmp_path)) == "detector"
    assert checkpoint_prefix(str(zoo)) == checkpoint_prefix(f"{zoo}/model.ckpt")
    assert checkpoint_prefix(str(tmp_path)) is None


def test_the_newest_checkpoint_of_a_folder_is_meant(tmp_path):
    for step in (9, 200, 1000):
        (tmp_path / f"model.ckpt-{step}.index").touch()
    assert checkpoint_prefix(str(tmp_path)) == str(tmp_path / "model.ckpt-1000")


def test_a_prefix_consists_of_its_index_and_data(zoo):
    files = files_of(f"{zoo}/model.ckpt")
    assert [file.rpartition("/")[2] for file in files] == [
        "model.ckpt.data-00000-of-00001",
        "model.ckpt.index",
    ]
    assert len(files_of(str(zoo))) == 4
    assert files_of(f"{zoo}/nothing.ckpt") == []


def test_the_hash_is_of_all_files_in_their_order(zoo):
    content = b"model.ckpt.data-00000-of-00001model.ckpt.index"
    assert sha256_of(f"{zoo}/model.ckpt") == hashlib.sha256(content).hexdigest()
    assert sha256_of(str(zoo / "notes")) == hashlib.sha256(b"notes").hexdigest()


def test_a_file_that_is_too_large_is_not_read(zoo):
    assert read_bytes(str(zoo / "notes"), 5) == b"notes"
    with pytest.raises(ValueError, match="at most 4 bytes"):
        read_bytes(str(zoo / "notes"), 4)
