import numpy as np
import pytest

from models.tflite.detector import TFLiteDetector
from pipeline.benchmark.candidates import read_candidate
from pipeline.benchmark.scoring import pictures_in, score
from pipeline.benchmark.worker import Worker
from pipeline.data.raw_example import LabelledPicture
from pipeline.errors import UserError
from pipeline.shipping.coco_metric import Picture
from pipeline.shipping.tflite_extractor import predict
from tests.pipeline.data_samples import CAT, DOG, VocFolder, picture
from tests.pipeline.shipping.test_coco_metric import score_pictures
from tests.pipeline.tiny_detector import LABELS


def test_a_folder_gives_its_labelled_images(tmp_path):
    folder = VocFolder(tmp_path / "data").fill(3)
    folder.add("broken", encoded=b"no picture")
    found = pictures_in(str(folder.root), "name")
    assert len(found.pictures) == 3
    assert found.source == f"3 images in {folder.root} (Pascal VOC, 1 unusable ones left out)"
    assert found.pictures[0].labels == ["cat", "dog"]
    np.testing.assert_allclose(found.pictures[0].boxes[0], [3 / 24, 4 / 32, 15 / 24, 20 / 32])
    named = pictures_in(str(folder.root), "filename")
    assert named.pictures[0].labels == ["cat", "cat"]


def test_of_a_folder_with_sides_only_the_evaluation_side_counts(tmp_path):
    for side in ("train", "valid"):
        VocFolder(tmp_path / side).fill(2, side)
    found = pictures_in(str(tmp_path), "name")
    assert {picture.image_id.rpartition("/")[2] for picture in found.pictures} == {
        "valid_0", "valid_1",
    }  # fmt: skip
    assert "2 images of the evaluation side" in found.source


def test_a_folder_without_labels_is_one_line(tmp_path):
    (tmp_path / "a.jpg").write_bytes(picture())
    with pytest.raises(UserError, match="Expected labelled images in"):
        pictures_in(str(tmp_path), "name")
    with pytest.raises(UserError, match="Expected"):
        pictures_in(str(tmp_path / "absent"), "name")


def test_a_folder_of_which_nothing_is_usable_is_one_line(tmp_path):
    folder = VocFolder(tmp_path / "data")
    folder.add("broken", (CAT, DOG), encoded=b"no picture")
    with pytest.raises(UserError, match=r"0 usable images.*first of which is .*broken\.xml: "):
        pictures_in(str(folder.root), "name")


@pytest.fixture
def labelled(eval_pictures):
    return [
        LabelledPicture(encoded, boxes, labels, *np.zeros((2, len(labels)), bool), name)
        for name, encoded, boxes, labels in eval_pictures
    ]


def test_the_figures_are_those_of_the_evaluator(tmp_path, int8_model, labelled):
    path = tmp_path / "my.tflite"
    path.write_bytes(int8_model)
    candidate = read_candidate("my", path)
    assert candidate.labels == LABELS  # from inside
    with Worker(path, candidate.interface.outputs, []) as worker:
        [found] = score({0: candidate}, {0: worker}, labelled).values()
    detector = TFLiteDetector(int8_model)
    expected = score_pictures(
        [
            Picture(
                each.image_id,
                each.boxes,
                each.labels,
                *predict(detector, LABELS, each.encoded).values(),
            )
            for each in labelled
        ],
        None,
    )
    assert found == {name: expected[name] for name in ("mAP50", "mAP")}
    assert 0.1 < found["mAP50"] < 1
