"""Fixtures for what happens to a detector after training: judging and shipping."""

from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.tiny_detector import LABELS, hash_of, picture, raw_example, tiny_tflite


@pytest.fixture(scope="session")
def int8_model(tmp_path_factory) -> bytes:
    """A quantized detector of 3 classes."""
    return tiny_tflite(3, True, str(tmp_path_factory.mktemp("int8")))


@pytest.fixture(scope="session")
def float_model(tmp_path_factory) -> bytes:
    """A float detector of 2 classes."""
    return tiny_tflite(2, False, str(tmp_path_factory.mktemp("float")), seed=1)


@pytest.fixture(scope="session")
def eval_pictures(int8_model, float_model):
    """12 pictures (source_id, file, boxes, labels) with objects near what the detectors find.

    Those of `float_model` are its class 0, as rabbits.
    """
    from models.image import decode_and_resize
    from models.tflite.detector import TFLiteDetector

    detector, other = TFLiteDetector(int8_model), TFLiteDetector(float_model)
    pictures = []
    for seed in range(12):
        encoded = picture(seed)
        found = detector.detect(decode_and_resize(encoded, detector.input_size).numpy())
        rabbits = other.detect(decode_and_resize(encoded, other.input_size).numpy())
        rabbits = rabbits.boxes[rabbits.class_ids == 0][:1]
        count = seed % 4  # every fourth picture is a negative
        boxes = found.boxes[: 2 * count : 2] * [1, 1, 0.93, 0.93]
        labels = [LABELS[class_id] for class_id in found.class_ids[: 2 * count : 2]]
        if count == 3:
            boxes = np.concatenate([boxes, rabbits])
            labels += ["rabbit"] * len(rabbits)
        pictures.append((f"picture_{seed:02}", encoded, boxes, labels))
    return pictures


@pytest.fixture
def write_examples():
    """Replaces the eval split of an Examples artifact by pictures, back to front."""
    import tensorflow as tf

    def write(artifact, pictures):
        folder = Path(artifact.uri) / "Split-eval"
        folder.mkdir(parents=True, exist_ok=True)
        path = str(folder / "data_tfrecord-00000-of-00001")
        with tf.io.TFRecordWriter(path) as writer:
            for content in reversed(pictures):
                writer.write(raw_example(*content))

    return write


@pytest.fixture
def examples_artifact(tmp_path, eval_pictures, write_examples):
    """An Examples artifact with `eval_pictures` in its eval split."""
    from tfx.types import artifact_utils, standard_artifacts

    artifact = standard_artifacts.Examples()
    artifact.uri = str(tmp_path / "examples")
    artifact.split_names = artifact_utils.encode_split_names(["train", "eval"])
    write_examples(artifact, eval_pictures)
    return artifact


@pytest.fixture
def model_artifact(tmp_path):
    """Makes a shipping model's artifact of a file and its labels."""
    from tfx.types import standard_artifacts

    def make(content: bytes, labels, name="model"):
        folder = tmp_path / name / "Format-Serving"
        folder.mkdir(parents=True)
        (folder / "tflite").write_bytes(content)
        (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
        artifact = standard_artifacts.Model()
        artifact.uri = str(tmp_path / name)
        artifact.set_string_custom_property("files_sha256", hash_of(content, labels))
        return artifact

    return make
