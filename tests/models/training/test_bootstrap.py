import numpy as np
import pytest

from models.training.bootstrap import resample, resampled_map
from models.training.coco import coco_metrics
from models.training.coco_matching import GroundTruth
from tests.models.training.test_coco import NAMES, random_set


def valid_set(seed, images=40):
    """`random_set` without negative areas, which pycocotools ignores, and without ties, whose
    order in repeated pictures is arbitrary."""
    truth, found, _ = random_set(seed, images)
    rng = np.random.default_rng(seed)
    found = [
        (
            np.concatenate([np.minimum(*np.split(b, 2, 1)), np.maximum(*np.split(b, 2, 1))], 1),
            class_ids,
            scores + rng.uniform(0, 0.01, len(scores)),
        )
        for b, class_ids, scores in found
    ]
    return truth, found


def repeated(pictures, sample):
    """The pictures of a sample, each as often as it was drawn."""
    return [picture for picture, times in zip(pictures, sample, strict=True) for _ in range(times)]


@pytest.mark.parametrize("seed", [0, 1])
def test_each_sample_scores_as_coco_metrics_scores_its_pictures(seed):
    truth, found = valid_set(seed)
    samples = np.concatenate([np.ones((1, 40), int), resample(40, 5, seed)])
    received = resampled_map(truth, found, 3, samples)
    for sample, values in zip(samples, received, strict=True):
        metrics = coco_metrics(repeated(truth, sample), repeated(found, sample), NAMES)
        # Rounding may move a recall over one of the 101 that are averaged.
        assert values == pytest.approx([metrics["mAP50"], metrics["mAP"]], abs=0.005)
    assert received[:, 0].std() > 0.01


def test_objects_with_flags_do_not_count_in_samples():
    truth, found = valid_set(2)
    rng = np.random.default_rng(2)
    flagged = [
        GroundTruth(boxes, ids, rng.random(len(ids)) < 0.2, rng.random(len(ids)) < 0.2)
        for boxes, ids in truth
    ]
    received = resampled_map(flagged, found, 3, np.ones((1, 40), int))[0]
    metrics = coco_metrics(flagged, found, NAMES)
    assert received == pytest.approx([metrics["mAP50"], metrics["mAP"]], abs=0.005)
    plain = coco_metrics(truth, found, NAMES)
    assert abs(metrics["mAP50"] - plain["mAP50"]) > 0.01


def test_samples_repeat_and_are_as_large_as_the_set():
    samples = resample(7, 50, 3)
    assert (samples.sum(axis=1) == 7).all()
    np.testing.assert_array_equal(samples, resample(7, 50, 3))
    assert (samples != resample(7, 50, 4)).any()


def test_a_sample_without_objects_is_not_a_number():
    box = np.array([[0.1, 0.1, 0.5, 0.5]])
    empty = (np.zeros((0, 4)), np.zeros(0, int))
    truth = [(box, np.array([0])), empty]
    found = [(box, np.array([0]), np.array([0.9]))] * 2
    received = resampled_map(truth, found, 3, np.array([[2, 0], [0, 2]]))
    assert received[0] == pytest.approx([1, 1])
    assert np.isnan(received[1]).all()


def test_no_detections_score_zero():
    box = np.array([[0.1, 0.1, 0.5, 0.5]])
    nothing = (np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))
    received = resampled_map([(box, np.array([0]))], [nothing], 1, np.array([[1]]))
    assert received.tolist() == [[0, 0]]
