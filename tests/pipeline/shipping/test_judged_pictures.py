"""What the Evaluator keeps of the pictures that it judged."""

import numpy as np
import pytest

from pipeline.shipping.judged_pictures import CANDIDATE, read_judged_pictures, to_line


def line(source_id, boxes):
    truth = {
        "source_id": source_id, "width": 32, "height": 24, "boxes": boxes, "labels": ["cat"],
        "difficult": np.array([False]), "crowd": np.array([True]),
    }  # fmt: skip
    return to_line(truth, {"boxes": boxes, "labels": ["cat"], "scores": boxes[:, 0]})


def test_detections_survive_to_the_last_bit_in_any_number_of_files(tmp_path):
    boxes = np.random.default_rng(0).random((3, 1, 4)).astype(np.float32)
    lines = [line(name, box) for name, box in zip("bca", boxes, strict=True)]
    (tmp_path / "detections-00000-of-00002.jsonl").write_text("\n".join(lines[:2]) + "\n")
    (tmp_path / "detections-00001-of-00002.jsonl").write_text(lines[2] + "\n")
    pictures = read_judged_pictures(str(tmp_path))
    assert [picture.source_id for picture in pictures] == ["a", "b", "c"]
    for picture, box in zip(pictures, boxes[[2, 0, 1]], strict=True):
        np.testing.assert_array_equal(picture.boxes, box)
        np.testing.assert_array_equal(picture.found[CANDIDATE].scores, box[:, 0])
        assert picture.crowd.tolist() == [True]


def test_an_evaluation_without_detections_is_an_error(tmp_path):
    with pytest.raises(OSError, match="No detections"):
        read_judged_pictures(str(tmp_path))
