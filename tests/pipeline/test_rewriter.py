import hashlib
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from tfx.types import standard_artifacts
from tiny_detector import LABELS

from models import checkpoint
from models.agreement import Agreement
from models.settings import PostProcessing
from models.ssd import SsdConfig
from models.tflite_detector import TFLiteDetector
from pipeline import rewriter
from pipeline.config import RewriterSettings
from pipeline.errors import UserError

CONFIG = SsdConfig(num_classes=3, input_size=64)
FACTS = {
    "class_names": list(LABELS),
    "step": 5,
    "score": 0.5,
    "float_score": None,
    "resumed_at": [],
}


def network(seed=0):
    """A linear network that the converter is done with in a second."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((64, 64, 3))
    pooled = layers.Flatten()(layers.AveragePooling2D(8)(image))
    count = len(CONFIG.anchors)

    def output(width, deviation):
        initializer = keras.initializers.RandomNormal(stddev=deviation)
        flat = layers.Dense(count * width, kernel_initializer=initializer)(pooled)
        return layers.Reshape((count, width))(flat)

    return keras.Model(image, {"box_encodings": output(4, 0.1), "class_logits": output(3, 0.2)})


@pytest.fixture
def rewrite(tmp_path, monkeypatch, examples_artifact):
    """Runs the component over the given network; gives its output artifact."""

    def run(reloaded=None, **tolerances):
        original = network()
        monkeypatch.setattr(checkpoint, "load_detector", lambda folder: (original, CONFIG, FACTS))
        if reloaded is not None:
            monkeypatch.setattr(rewriter, "TFLiteDetector", reloaded)
        model, output = standard_artifacts.Model(), standard_artifacts.Model()
        model.uri, output.uri = str(tmp_path / "model"), str(tmp_path / "out")
        function = rewriter.TFLiteRewriter.EXECUTOR_SPEC.executor_class._FUNCTION
        function(
            model=model,
            examples=examples_artifact,
            shipping_model=output,
            quantization="none",
            post_processing=PostProcessing(
                score_threshold=0.3, max_detections=20
            ).model_dump_json(),
            comparison=RewriterSettings(**tolerances).model_dump_json(),
            code_fingerprint="c0de",
        )
        return output

    return run


def test_the_shipping_model_is_whole(rewrite):
    artifact = rewrite()
    folder = Path(artifact.uri) / "Format-Serving"
    assert sorted(path.name for path in folder.iterdir()) == [
        "detector.json",
        "labels.txt",
        "tflite",
    ]
    content = (folder / "tflite").read_bytes()
    assert artifact.get_string_custom_property("sha256") == hashlib.sha256(content).hexdigest()
    assert artifact.get_int_custom_property("size_bytes") == len(content)
    assert artifact.get_float_custom_property("agreement") == 1
    assert artifact.get_string_custom_property("quantization") == "none"
    assert (folder / "labels.txt").read_text().splitlines() == list(LABELS)
    description = json.loads((folder / "detector.json").read_text())
    assert description["input_size"] == TFLiteDetector(content).input_size == 64
    assert description["post_processing"]["max_detections"] == 20
    assert description["agreement"]["num_expected"] > 10
    assert description["training"]["step"] == 5


def test_a_file_that_computes_something_else_is_not_written(rewrite, tmp_path):
    class Shifted(TFLiteDetector):
        def detect(self, image):
            found = super().detect(image)
            return found._replace(boxes=np.clip(found.boxes + 0.2, 0, 1))

    with pytest.raises(UserError, match=r"to find what the network finds.*at least 95%"):
        rewrite(reloaded=Shifted)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("matched", "passes"), [(95, True), (94, False)])
def test_the_share_that_has_to_agree(matched, passes):
    agreement = Agreement(32, 100, 100, matched, 0.05, 0.9)
    if passes:
        rewriter._judge(agreement, RewriterSettings())
    else:
        with pytest.raises(UserError, match="94 of 100 detections agree"):
            rewriter._judge(agreement, RewriterSettings())
