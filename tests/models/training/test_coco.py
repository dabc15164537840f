import json
import math

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from models.training.coco import average_precision_by_size, coco_metrics, metric_names
from models.training.coco_matching import GroundTruth, Matches, match_detections

NAMES = ["cat", "dog", "rabbit"]
SIZES = [(240, 320), (333, 500)]


def random_set(seed, images=40, classes=3):
    """Pictures with a few boxes and noisy detections of them, some wrong, some missed."""
    rng = np.random.default_rng(seed)
    truth, found, sizes = [], [], []
    for _ in range(images):
        n = rng.integers(0, 5)
        corner, size = rng.uniform(0, 0.6, (n, 2)), rng.uniform(0.05, 0.4, (n, 2))
        boxes = np.concatenate([corner, corner + size], axis=1)
        ids = rng.integers(0, classes, n)
        shift = rng.normal(0, 0.02, (n, 4))
        extra = rng.uniform(0, 0.5, (3, 2))
        found_boxes = np.concatenate([boxes + shift, np.concatenate([extra, extra + 0.2], axis=1)])
        found_ids = np.concatenate([np.where(rng.random(n) < 0.8, ids, 0), rng.integers(0, 3, 3)])
        # Few distinct values, as an int8 model gives: ties are the rule.
        scores = rng.integers(1, 20, n + 3) / 20
        truth.append((boxes, ids))
        found.append((found_boxes, found_ids, scores))
        sizes.append(SIZES[rng.integers(0, 2)])
    return truth, found, sizes


def by_pycocotools(truth, found, sizes, folder, classes=3, crowds=None):
    """The reference: COCO json files on disk, loadRes, summarize; pixels."""

    def xywh(box, size):
        (ymin, xmin, ymax, xmax), (height, width) = box, size
        return [xmin * width, ymin * height, (xmax - xmin) * width, (ymax - ymin) * height]

    annotations, results = [], []
    for image, ((boxes, ids, *_), size) in enumerate(zip(truth, sizes, strict=True)):
        first = len(annotations)
        for box, class_id in zip(boxes, ids, strict=True):
            x, y, w, h = xywh(box, size)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(class_id),
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": int(crowds is not None and crowds[image][len(annotations) - first]),
                }
            )
    for image, ((boxes, ids, scores), size) in enumerate(zip(found, sizes, strict=True)):
        results += [
            {
                "image_id": image,
                "category_id": int(class_id),
                "bbox": xywh(box, size),
                "score": float(score),
            }
            for box, class_id, score in zip(boxes, ids, scores, strict=True)
        ]
    path = folder / "truth.json"
    path.write_text(
        json.dumps(
            {
                "images": [{"id": i, "height": h, "width": w} for i, (h, w) in enumerate(sizes)],
                "categories": [{"id": i, "name": str(i)} for i in range(classes)],
                "annotations": annotations,
            }
        )
    )
    labelled = COCO(str(path))
    evaluation = COCOeval(labelled, labelled.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


@pytest.mark.parametrize("seed", [0, 1])
def test_equals_pycocotools_in_pixels(seed, tmp_path):
    truth, found, sizes = random_set(seed)
    reference = by_pycocotools(truth, found, sizes, tmp_path)
    metrics = coco_metrics(truth, found, NAMES)
    assert 0.05 < metrics["mAP"] < metrics["mAP50"] < 0.95
    assert metrics["mAP"] == pytest.approx(reference.stats[0], abs=1e-6)
    assert metrics["mAP50"] == pytest.approx(reference.stats[1], abs=1e-6)
    precision = reference.eval["precision"][:, :, :, 0, -1]
    for index, name in enumerate(NAMES):
        assert metrics[f"AP/{name}"] == pytest.approx(precision[:, :, index].mean(), abs=1e-6)
        assert metrics[f"AP50/{name}"] == pytest.approx(precision[0, :, index].mean(), abs=1e-6)
    assert list(metrics) == metric_names(NAMES)


class WithDifficult(COCOeval):
    """pycocotools', to which difficult objects are crowds that are overlapped as objects are."""

    def computeIoU(self, imgId, catId):
        truth = self._gts[imgId, catId]
        self._gts[imgId, catId] = [one | {"iscrowd": one["crowd"]} for one in truth]
        overlaps = super().computeIoU(imgId, catId)
        self._gts[imgId, catId] = truth
        return overlaps


def precision_by_pycocotools(truth, found, classes):
    """[10 overlaps, 101 recalls, classes, all, small, medium, large]; NaN without objects."""

    def indexed(boxes_of):
        dataset = {
            "images": [{"id": index} for index in range(len(truth))],
            "categories": [{"id": index} for index in range(classes)],
            "annotations": [
                {
                    "id": number,
                    "image_id": image,
                    "category_id": int(class_id),
                    "bbox": [xmin, ymin, xmax - xmin, ymax - ymin],
                    "area": (ymax - ymin) * (xmax - xmin),
                    **more,
                }
                for number, (image, (ymin, xmin, ymax, xmax), class_id, more) in enumerate(
                    boxes_of, start=1
                )
            ],
        }
        coco = COCO()
        coco.dataset = dataset
        coco.createIndex()
        return coco

    objects = (
        (image, box, class_id, {"crowd": int(crowd), "iscrowd": int(crowd or difficult)})
        for image, picture in enumerate(truth)
        for box, class_id, difficult, crowd in zip(*picture, strict=True)
    )
    detections = (
        (image, box, class_id, {"score": score})
        for image, picture in enumerate(found)
        for box, class_id, score in zip(*picture, strict=True)
    )
    evaluation = WithDifficult(indexed(objects), indexed(detections), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][..., -1]
    return np.where(precision > -1, precision, np.nan)


def crowded_set(seed):
    """Boxes on a coarse grid: equal overlaps, full ones and equal scores are common, as are flags,
    pictures with one class or without objects, and more than 100 detections."""
    rng = np.random.default_rng(seed)
    truth, found, sizes = [], [], []
    for index in range(30):
        n, k = rng.integers(0, 30), (rng.integers(0, 60) if index else 130)

        def boxes(count):
            corner, size = rng.integers(0, 8, (count, 2)), rng.integers(1, 5, (count, 2))
            return np.concatenate([corner, corner + size], axis=1) / 12

        objects = boxes(n)
        near = objects[rng.integers(0, n, k)] + rng.integers(-1, 2, (k, 4)) / 40 if n else boxes(k)
        truth.append(
            GroundTruth(objects, rng.integers(0, 2, n), rng.random(n) < 0.2, rng.random(n) < 0.2)
        )
        ids = rng.integers(0, 1 + index % 3, k)
        found.append((near, ids, (rng.integers(1, 30, k) / 32).astype(np.float32)))
        sizes.append((int(rng.integers(60, 900)), int(rng.integers(60, 900))))
    return truth, found, sizes


def check_average(expected, received):
    valid = expected[~np.isnan(expected)]
    mean = valid.mean() if valid.size else math.nan
    assert received == pytest.approx(mean, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("seed", range(4))
def test_ties_flags_and_sizes_are_those_of_pycocotools_to_the_last_digit(seed):
    truth, found, sizes = crowded_set(seed)
    precision = precision_by_pycocotools(truth, found, len(NAMES))[..., 0]
    metrics = coco_metrics(truth, found, NAMES)
    assert 0.01 < metrics["mAP"] < metrics["mAP50"] < 0.95
    check_average(precision, metrics["mAP"])
    check_average(precision[0], metrics["mAP50"])
    for index, name in enumerate(NAMES):
        check_average(precision[:, :, index], metrics[f"AP/{name}"])
        check_average(precision[0, :, index], metrics[f"AP50/{name}"])

    def in_pixels(pictures):
        return [
            (boxes * [height, width, height, width], *rest)
            for (boxes, *rest), (width, height) in zip(pictures, sizes, strict=True)
        ]

    precision = precision_by_pycocotools(in_pixels(truth), in_pixels(found), len(NAMES))
    by_size = average_precision_by_size(truth, found, len(NAMES), sizes)
    assert len(by_size) == 3
    for index, figures in enumerate(by_size.values(), start=1):
        check_average(precision[..., index], figures["mAP"])
        check_average(precision[0, ..., index], figures["mAP50"])


def test_pictures_can_be_matched_in_parts_in_any_order():
    truth, found, _ = crowded_set(9)
    parts = [Matches(), Matches(), Matches()]
    for index in np.random.default_rng(0).permutation(len(truth)).tolist():
        parts[index % 3].add(index, truth[index], found[index])
    whole = Matches()
    for part in parts:
        whole.merge(part)
    assert whole.num_pictures == len(truth)
    assert whole.classes() == [0, 1]
    for received, expected in zip(
        whole.of(range(3)), match_detections(truth, found, 3), strict=True
    ):
        for values, wanted in zip(received, expected, strict=True):
            np.testing.assert_array_equal(values, wanted)


def test_a_class_without_ground_truth_is_nan_and_left_out_of_the_mean():
    box = np.array([[0.1, 0.1, 0.5, 0.5]])
    truth = [(box, np.array([0]))]
    found = [(np.repeat(box, 2, axis=0), np.array([0, 2]), np.array([0.9, 0.8]))]
    metrics = coco_metrics(truth, found, NAMES)
    assert metrics["mAP50"] == metrics["AP50/cat"] == pytest.approx(1)
    assert math.isnan(metrics["AP50/dog"])
    assert math.isnan(metrics["AP/rabbit"])


def test_perfect_detections_give_one_and_none_give_zero():
    truth, _, _ = random_set(3)
    perfect = [(boxes, ids, np.ones(len(ids))) for boxes, ids in truth]
    assert coco_metrics(truth, perfect, NAMES)["mAP"] == pytest.approx(1)
    nothing = [(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))] * len(truth)
    assert coco_metrics(truth, nothing, NAMES)["mAP"] == 0


def test_without_any_ground_truth_everything_is_nan():
    empty = (np.zeros((0, 4)), np.zeros(0, int))
    found = (np.array([[0, 0, 1, 1]]), np.array([0]), np.array([0.5]))
    for truth, detections in ([], []), ([empty], [found]):
        metrics = coco_metrics(truth, detections, NAMES)
        assert list(metrics) == metric_names(NAMES)
        assert all(math.isnan(value) for value in metrics.values())


def test_at_most_100_detections_a_picture_count():
    box = np.array([[0.1, 0.1, 0.5, 0.5]])
    wrong = np.tile([[0.6, 0.6, 0.9, 0.9]], (100, 1))
    found = [(np.concatenate([wrong, box]), np.zeros(101, int), np.append(np.full(100, 0.9), 0.1))]
    assert coco_metrics([(box, np.array([0]))], found, NAMES)["mAP50"] == 0


@pytest.mark.parametrize(
    ("truth", "found", "message"),
    [
        ([([[0, 0, 1, 1]], [0])], [], "1 ground truths, 0 detections"),
        ([([[0, 0, 1, 1]], [3])], [([], [], [])], r"0\.\.2 in ground truth of picture 0"),
        ([([], [])], [([[0, 0, 1, 1]], [-1], [0.5])], "in detections of picture 0"),
        ([([], [])], [([[0, 0, 1, 1]], [0], [np.nan])], "finite"),
        ([([], [])], [([[0, 0, np.inf, 1]], [0], [0.5])], "finite"),
        ([([], [])], [([[0, 0, 1, 1]], [0], [])], "1 boxes, 1 ids, 0 scores"),
    ],
)
def test_bad_arrays_are_errors(truth, found, message):
    with pytest.raises(ValueError, match=message):
        coco_metrics(truth, found, NAMES)


def test_prints_nothing(capsys):
    coco_metrics(*random_set(0)[:2], NAMES)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("seed", [0, 1])
def test_crowds_are_those_of_pycocotools(seed, tmp_path):
    truth, found, sizes = random_set(seed)
    rng = np.random.default_rng(seed)
    crowds = [rng.random(len(ids)) < 0.3 for _, ids in truth]
    expected = by_pycocotools(truth, found, sizes, tmp_path, crowds=crowds).stats[:2]
    flagged = [
        GroundTruth(*objects, None, crowd) for objects, crowd in zip(truth, crowds, strict=True)
    ]
    received = coco_metrics(flagged, found, NAMES)
    assert [received["mAP"], received["mAP50"]] == pytest.approx(expected, abs=1e-6)
    assert received["mAP50"] != pytest.approx(coco_metrics(truth, found, NAMES)["mAP50"], abs=1e-3)


EASY, HARD = [0.1, 0.1, 0.3, 0.3], [0.5, 0.5, 0.9, 0.9]
INSIDE_HARD = [0.5, 0.5, 0.6, 0.6]


def score_one(flag, found):
    """mAP50 of a picture with an easy object and one that has a flag; detections by score."""
    flags = {flag: np.array([False, True])}
    truth = GroundTruth(np.array([EASY, HARD]), np.array([0, 0]), **flags)
    scores = np.linspace(0.9, 0.5, len(found))
    detections = [(np.array(found), np.zeros(len(found), int), scores)]
    [matches] = match_detections([truth], detections, 1)
    assert matches.num_objects.tolist() == [1]
    return coco_metrics([truth], detections, ["cat"])["mAP50"], matches.ignored(0).tolist()


@pytest.mark.parametrize("flag", ["difficult", "crowd"])
def test_objects_with_a_flag_are_neither_found_nor_missed(flag):
    assert score_one(flag, [EASY]) == (pytest.approx(1), [False])
    # However often they are found.
    assert score_one(flag, [HARD, HARD, EASY]) == (pytest.approx(1), [True, True, False])


def test_a_detection_of_a_part_is_right_in_a_crowd_and_wrong_in_a_difficult_object():
    assert score_one("crowd", [INSIDE_HARD, EASY]) == (pytest.approx(1), [True, False])
    assert score_one("difficult", [INSIDE_HARD, EASY]) == (pytest.approx(0.5), [False, False])


def test_a_class_of_which_nothing_counts_is_not_a_number():
    truth = GroundTruth(np.array([EASY]), np.array([0]), np.array([True]))
    found = (np.array([EASY]), np.array([0]), np.array([0.5]))
    metrics = coco_metrics([truth], [found], NAMES)
    assert all(math.isnan(value) for value in metrics.values())
