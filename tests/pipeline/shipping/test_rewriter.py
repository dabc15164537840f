import hashlib
import json
from pathlib import Path

import keras
import pytest
from keras import layers
from tfx.types import standard_artifacts

from models.networks.families import DetectorConfig
from models.settings import PostProcessing
from models.tflite.description import problem_with_description
from models.tflite.detector import TFLiteDetector
from models.tflite.export import export_tflite as export
from models.tflite_metadata import read_metadata
from models.training import checkpoint
from pipeline.errors import UserError
from pipeline.settings import RewriterSettings
from pipeline.shipping import rewriter
from tests.pipeline.tiny_detector import LABELS, hash_of

CONFIG = DetectorConfig(num_classes=3, input_size=64)
FACTS = {
    "class_names": list(LABELS),
    "step": 5,
    "score": 0.5,
    "float_score": None,
    "resumed_at": [],
}


def network(seed=0, class_bias=0.0):
    """A linear network that the converter is done with in a second."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((64, 64, 3))
    pooled = layers.Flatten()(layers.AveragePooling2D(8)(image))
    count = len(CONFIG.anchors)

    def output(width, deviation, bias=0.0):
        flat = layers.Dense(
            count * width,
            kernel_initializer=keras.initializers.RandomNormal(stddev=deviation),
            bias_initializer=keras.initializers.Constant(bias),
        )(pooled)
        return layers.Reshape((count, width))(flat)

    outputs = {"box_encodings": output(4, 0.1), "class_logits": output(3, 0.2, class_bias)}
    return keras.Model(image, outputs)


SILENT = -8.0


@pytest.fixture
def rewrite(tmp_path, monkeypatch, examples_artifact):
    """Runs the component over the given network; gives its output artifact."""

    def run(original=None, exported=None, **limits):
        original = original or network()
        monkeypatch.setattr(checkpoint, "load_detector", lambda folder: (original, CONFIG, FACTS))
        if exported is not None:
            monkeypatch.setattr(
                rewriter, "export_tflite", lambda _, *args, **more: export(exported, *args, **more)
            )
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
            comparison=RewriterSettings(**limits).model_dump_json(),
            provenance=json.dumps({"code": "c0de" * 16, "settings": "5e7" * 16}),
            code_fingerprint="c0de",
        )
        return output

    return run


def test_the_shipping_model_is_whole(rewrite):
    artifact = rewrite()
    folder = Path(artifact.uri) / "Format-Serving"
    assert sorted(path.name for path in folder.iterdir()) == [
        "detect_raw.tflite",
        "detector.json",
        "labels.txt",
        "tflite",
    ]
    content = (folder / "tflite").read_bytes()
    assert artifact.get_string_custom_property("sha256") == hashlib.sha256(content).hexdigest()
    raw = (folder / "detect_raw.tflite").read_bytes()
    assert artifact.get_string_custom_property("raw_sha256") == hashlib.sha256(raw).hexdigest()
    together = artifact.get_string_custom_property("files_sha256")
    assert together == hash_of(content, LABELS, raw)
    assert problem_with_description(raw, (folder / "labels.txt").read_text()) is None
    assert artifact.get_float_custom_property("map_of_detect_raw") == pytest.approx(
        artifact.get_float_custom_property("map_of_file"), abs=0.002
    )
    told = json.loads(read_metadata(content, "").files["provenance.json"])
    figures = {"mAP50": "map50_of_file", "mAP": "map_of_file"}
    assert told["comparison"] == {
        **{name: artifact.get_float_custom_property(key) for name, key in figures.items()},
        "pictures": 12,
    }
    assert artifact.get_int_custom_property("size_bytes") == len(content)
    assert artifact.get_string_custom_property("quantization") == "none"
    for output in ("", "_boxes", "_classes", "_scores", "_count"):
        assert artifact.get_float_custom_property(f"agreement{output}") == 1
    assert artifact.get_int_custom_property("compared_images") == 12
    assert artifact.get_int_custom_property("compared_labelled_images") == 9
    file, network = (
        artifact.get_float_custom_property(f"map50_of_{name}") for name in ("file", "network")
    )
    assert file == network
    assert artifact.get_int_custom_property("compared_detections") > 10
    assert 0 <= artifact.get_float_custom_property("raw_box_error") < 1e-3
    assert (folder / "labels.txt").read_text().splitlines() == list(LABELS)
    description = json.loads((folder / "detector.json").read_text())
    assert description["input_size"] == TFLiteDetector(content).input_size == 64
    assert description["post_processing"]["max_detections"] == 20
    assert description["agreement"]["compared_detections"] > 10
    assert description["training"]["step"] == 5


def test_as_many_pictures_are_compared_as_the_setting_says(rewrite):
    assert rewrite(num_images=7).get_int_custom_property("compared_images") == 7


def test_a_file_that_computes_something_else_is_not_written(rewrite, tmp_path):
    with pytest.raises(UserError, match=r"raw box encodings differ by 1\.\d+.*rewriter\.max_raw"):
        rewrite(exported=network(seed=1))
    assert not (tmp_path / "out").exists()


def test_a_file_of_a_silent_network_is_told_from_another_silent_one(rewrite):
    silent = network(class_bias=SILENT)
    artifact = rewrite(silent)
    assert artifact.get_int_custom_property("compared_detections") == 0
    with pytest.raises(UserError, match=r"raw box encodings differ by 1\.\d+"):
        rewrite(silent, exported=network(seed=1, class_bias=SILENT))


def test_a_float16_form_is_made_where_it_is_wanted(rewrite):
    artifact = rewrite(float16=True)
    content = (Path(artifact.uri) / "Format-Serving" / "detect_float16.tflite").read_bytes()
    assert hashlib.sha256(content).hexdigest() == artifact.get_string_custom_property(
        "float16_sha256"
    )
    assert problem_with_description(content, "cat\ndog\nrabbit\n") is None
    of_network = artifact.get_float_custom_property("map_of_network")
    of_form = artifact.get_float_custom_property("map_of_detect_float16")
    assert of_form == pytest.approx(of_network, abs=0.01)
