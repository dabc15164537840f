import numpy as np
import pytest
import tensorflow as tf

from models.tflite.detector import TFLiteDetector


def other_model() -> bytes:
    """A .tflite that is no detector."""
    function = tf.function(lambda x: x + 1.0, input_signature=[tf.TensorSpec([1, 2])])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    return converter.convert()


def test_another_model_is_rejected(tmp_path):
    content = other_model()
    with pytest.raises(ValueError, match=r"Expected a signature 'serving_default'.*\d+ bytes"):
        TFLiteDetector(content)
    path = tmp_path / "other.tflite"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.tflite"):
        TFLiteDetector(str(path))


class Runner:
    """What the runtime would give: two detections, and garbage behind them."""

    def __call__(self, **inputs):
        (self.image,) = inputs.values()
        return {
            "detection_boxes": np.float32([[[-0.1, 0.2, 0.5, 1.3], [0, 0, 1, 1], [9, 9, 9, 9]]]),
            "detection_classes": np.float32([[2, 0, 1e30]]),
            "detection_scores": np.float32([[0.9, 0.4, np.nan]]),
            "num_detections": np.float32([2]),
        }


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_detections_are_cut_by_count_and_clipped(dtype):
    detector = object.__new__(TFLiteDetector)
    detector._run, detector._dtype = Runner(), dtype
    found = detector.detect(np.full((4, 4, 3), 255, np.uint8))
    np.testing.assert_allclose(found.boxes, [[0, 0.2, 0.5, 1], [0, 0, 1, 1]])
    assert found.class_ids.tolist() == [2, 0]
    np.testing.assert_allclose(found.scores, [0.9, 0.4])
    assert detector._run.image.shape == (1, 4, 4, 3)
    assert detector._run.image.max() == (255 if dtype == np.uint8 else 1.0)
