import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.networks.post_processing import Detections
from models.training.scoring import Scores
from models.training.watch import Interval
from pipeline.training.tensorboard_log import TensorBoardLog

IMAGES = np.full((3, 64, 64, 3), 200, np.uint8)
BOX = np.float32([[0.2, 0.2, 0.8, 0.8]])
NOTHING = (np.zeros((0, 4), np.float32), np.zeros(0, np.int32))


def scores(score):
    """One detection of the given score in the first picture; one object in the second."""
    empty = Detections(*NOTHING, np.zeros(0, np.float32))
    found = Detections(BOX, np.int32([1]), np.float32([score]))
    metrics = {"mAP50": 0.5, "mAP": math.nan}
    return Scores(metrics, [found, empty, empty], [NOTHING, (BOX, np.int32([0])), NOTHING])


@pytest.fixture
def write(tmp_path):
    """Writes two intervals, and reads the event file: {tag: {step: value}}."""

    def run(score):
        log = TensorBoardLog(str(tmp_path), ["cat", "dog"])
        for step in (5, 10):
            interval = Interval(step, {"loss": 1.5, "localization_loss": 0.5}, 0.01, None, 42.0)
            log.write(interval, scores(score), [(IMAGES[:2], {}), (IMAGES[2:], {})])
        log.close()
        (path,) = tmp_path.glob("events.out.tfevents.*")
        found = {}
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = tf.make_ndarray(value.tensor)
        return found

    return run


def test_every_interval_has_its_scalars(write):
    found = write(0.9)
    expected = {
        "train/loss": 1.5,
        "train/localization_loss": 0.5,
        "train/learning_rate": 0.01,
        "train/images_per_second": 42.0,
        "eval/mAP50": 0.5,
    }
    for tag, value in expected.items():
        assert {step: pytest.approx(value) for step in (5, 10)} == found[tag]
    assert math.isnan(found["eval/mAP"][5])


def test_tensorboard_reads_the_event_file(write, tmp_path):
    write(0.9)
    command = [Path(sys.executable).with_name("tensorboard"), "--inspect", "--logdir", tmp_path]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "eval/mAP50" in result.stdout
    assert "prediction_and_truth/0" in result.stdout


def pictures(found):
    decoded = []
    for index in range(3):
        width, height, encoded = found[f"prediction_and_truth/{index}"][5]
        assert (int(width), int(height)) == (128, 64)
        decoded.append(tf.io.decode_png(encoded, channels=3).numpy())
    return decoded


def test_the_prediction_is_on_the_left_and_the_truth_on_the_right(write):
    first, second, third = pictures(write(0.9))
    plain = np.full((64, 64, 3), 200)
    assert (first[:, :64] != plain).any()
    np.testing.assert_array_equal(first[:, 64:], plain)
    np.testing.assert_array_equal(second[:, :64], plain)
    assert (second[:, 64:] != plain).any()
    np.testing.assert_array_equal(third, np.full((64, 128, 3), 200))


def test_unsure_detections_are_not_drawn(write):
    first, *_ = pictures(write(0.2))
    assert (first == 200).all()
