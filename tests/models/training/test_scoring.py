import numpy as np
import pytest
import tensorflow as tf

from models.networks.boxes import encode
from models.settings import PostProcessing
from models.training.input_pipeline import evaluation_batches
from models.training.scoring import score
from tests.models.helpers import TINY, records

NAMES = ["cat", "dog", "rabbit"]


class Oracle:
    """A network that finds all objects of the records, but for those of some pictures."""

    distribute_strategy = tf.distribute.get_strategy()

    def __init__(self, miss=()):
        self.records = list(records().as_numpy_iterator())
        self.miss, self.seen = miss, 0

    def predict_on_batch(self, images):
        assert images.dtype == np.float32
        assert -1 <= images.min() < -0.5 < 0.5 < images.max() <= 1
        count = len(TINY.anchors)
        encodings = np.zeros((len(images), count, 4), np.float32)
        logits = np.full((len(images), count, 3), -9.0, np.float32)
        for row in range(len(images)):
            record = self.records[self.seen]
            for place, (box, class_id) in enumerate(
                zip(record["boxes"], record["class_ids"], strict=True)
            ):
                encodings[row, place] = encode(box[None], TINY.anchors[place][None])[0]
                logits[row, place, class_id] = 9.0 if self.seen not in self.miss else -9.0
            self.seen += 1
        return {"box_encodings": encodings, "class_logits": logits}


def run(network, data=None):
    batches = evaluation_batches(data or records(), input_size=64, batch_size=4, max_boxes=3)
    return score(network, TINY, batches, PostProcessing(score_threshold=0.5), NAMES)


def test_a_perfect_network_scores_one():
    scores = run(Oracle())
    assert scores.metrics["mAP50"] == pytest.approx(1)
    assert scores.metrics["mAP"] == pytest.approx(1)
    assert len(scores.detections) == len(scores.groundtruth) == 10
    for found, (boxes, class_ids, *_) in zip(scores.detections, scores.groundtruth, strict=True):
        assert sorted(found.class_ids) == sorted(class_ids)
        assert len(boxes) == len(class_ids)


def test_missed_objects_lower_the_score():
    assert run(Oracle(miss=(1, 2))).metrics["mAP50"] < 0.95


def test_objects_that_are_difficult_do_not_count_as_missed():
    def flagged(record):
        missed = (record["image_index"] == 1) | (record["image_index"] == 2)
        none = tf.zeros_like(record["class_ids"], tf.bool)
        return record | {"difficult": none | missed, "crowd": none}

    scores = run(Oracle(miss=(1, 2)), records().map(flagged))
    assert scores.metrics["mAP50"] == pytest.approx(1)
    assert scores.groundtruth[1].difficult.all()
    assert not scores.groundtruth[3].difficult.any()
