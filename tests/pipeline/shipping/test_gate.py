import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.components.util import udf_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.types import channel_utils, standard_artifacts

from models.image import decode_and_resize
from models.tflite.detector import TFLiteDetector
from models.training.coco import coco_metrics
from pipeline.beam_options import IN_PROCESS
from pipeline.errors import UserError
from pipeline.files import hash_files
from pipeline.metadata import facts, store
from pipeline.shipping.coco_metric import UNKNOWN_CLASS_DETECTIONS
from pipeline.shipping.evaluator import DetectionEvaluator
from pipeline.shipping.gate import (
    EXTRACTOR_MODULE,
    BlessedBeforeStrategy,
    Threshold,
    eval_config,
    read_evaluation,
)
from pipeline.shipping.tflite_extractor import custom_extractors
from tests.pipeline.tiny_detector import LABELS, hash_of, picture


@pytest.fixture
def evaluate(tmp_path, examples_artifact):
    """Runs the Evaluator as pipeline.py constructs it; gives (Evaluation, blessing artifact)."""

    def run(model, baseline=None, class_names=LABELS, min_map50=0.1, max_drop=0.02):
        component = DetectionEvaluator(
            examples=channel_utils.as_channel([examples_artifact]),
            model=channel_utils.as_channel([model]),
            baseline_model=channel_utils.as_channel([baseline]) if baseline else None,
            eval_config=eval_config(class_names, min_map50, max_drop),
            module_path=EXTRACTOR_MODULE,
        )
        inputs = {"examples": [examples_artifact], "model": [model]}
        if baseline:
            inputs["baseline_model"] = [baseline]
        evaluation = standard_artifacts.ModelEvaluation()
        blessing = standard_artifacts.ModelBlessing()
        evaluation.uri, blessing.uri = str(tmp_path / "evaluation"), str(tmp_path / "blessing")
        context = base_beam_executor.BaseBeamExecutor.Context(
            beam_pipeline_args=list(IN_PROCESS),
            tmp_dir=str(tmp_path),
            unique_id="1",
        )
        properties = {
            key: value for key, value in component.spec.exec_properties.items() if value is not None
        }
        component.executor_spec.executor_class(context).Do(
            inputs, {"evaluation": [evaluation], "blessing": [blessing]}, properties
        )
        return read_evaluation(evaluation.uri), blessing

    return run


def expected_metrics(model: bytes, labels, pictures, class_names=LABELS):
    """pycocotools on the same detections, by way of the detector alone."""
    detector = TFLiteDetector(model)
    truth, found = [], []
    for _, encoded, boxes, names in pictures:
        result = detector.detect(decode_and_resize(encoded, detector.input_size).numpy())
        known = np.array([labels[i] in class_names for i in result.class_ids], bool)
        ids = [class_names.index(labels[i]) for i in result.class_ids[known]]
        truth.append((boxes.astype(np.float32), [class_names.index(name) for name in names]))
        found.append((result.boxes[known], ids, result.scores[known]))
    return coco_metrics(truth, found, class_names)


@pytest.mark.slow
@pytest.mark.parametrize("class_names", [LABELS, None])
def test_the_evaluator_agrees_with_pycocotools_on_the_shipping_file(
    evaluate, model_artifact, int8_model, eval_pictures, class_names
):
    evaluation, blessing = evaluate(model_artifact(int8_model, LABELS), class_names=class_names)
    expected = expected_metrics(int8_model, LABELS, eval_pictures)
    expected = {name: value for name, value in expected.items() if not math.isnan(value)}
    assert 0.1 < expected["mAP50"] < 1
    dropped = evaluation.metrics.pop(UNKNOWN_CLASS_DETECTIONS)
    assert evaluation.metrics == pytest.approx(expected, abs=1e-6)
    assert class_names is None or dropped == 0
    assert evaluation.baseline_metrics is None
    assert evaluation.blessed
    assert blessing.get_int_custom_property("blessed") == 1
    assert blessing.get_string_custom_property("files_sha256") == hash_of(int8_model, LABELS)
    value = evaluation.metrics["mAP50"]
    assert evaluation.thresholds == (Threshold("mAP50", "value", value, 0.1, True),)


@pytest.mark.slow
def test_below_the_absolute_threshold_nothing_is_blessed(evaluate, model_artifact, int8_model):
    evaluation, blessing = evaluate(model_artifact(int8_model, LABELS), min_map50=0.999)
    assert not evaluation.blessed
    assert blessing.get_int_custom_property("blessed") == 0
    assert [t.passed for t in evaluation.thresholds] == [False]
    assert "at least 0.9990: failed" in str(evaluation.thresholds[0])


@pytest.mark.slow
def test_without_ground_truth_nothing_is_blessed(
    evaluate, model_artifact, int8_model, examples_artifact, write_examples
):
    write_examples(examples_artifact, [("empty", picture(0), [], [])])
    evaluation, blessing = evaluate(model_artifact(int8_model, LABELS))
    assert "mAP50" not in evaluation.metrics
    assert blessing.get_int_custom_property("blessed") == 0
    assert evaluation.thresholds == (Threshold("mAP50", "value", None, 0.1, False),)


@pytest.mark.slow
@pytest.mark.parametrize(("max_drop", "blessed"), [(0.02, False), (1.0, True)])
def test_candidate_and_baseline_may_differ_in_size_and_classes(
    evaluate, model_artifact, int8_model, float_model, eval_pictures, max_drop, blessed
):
    # Two classes in another order, one of which is unknown to the judge.
    other = ("rabbit", "horse")
    evaluation, blessing = evaluate(
        model_artifact(float_model, other, name="candidate"),
        baseline=model_artifact(int8_model, LABELS, name="baseline"),
        min_map50=1e-6,
        max_drop=max_drop,
    )
    candidate = expected_metrics(float_model, other, eval_pictures)
    baseline = expected_metrics(int8_model, LABELS, eval_pictures)
    assert 0 < candidate["mAP50"] < baseline["mAP50"] - 0.02
    assert evaluation.metrics.pop(UNKNOWN_CLASS_DETECTIONS) > 0
    assert evaluation.baseline_metrics.pop(UNKNOWN_CLASS_DETECTIONS) == 0
    assert evaluation.metrics == pytest.approx(candidate, abs=1e-6)
    assert evaluation.baseline_metrics == pytest.approx(baseline, abs=1e-6)
    absolute, change = evaluation.thresholds
    assert absolute.passed
    assert change.kind == "change"
    assert change.value == pytest.approx(candidate["mAP50"] - baseline["mAP50"], abs=1e-6)
    assert change.bound == -max_drop
    assert change.passed == blessed
    assert evaluation.blessed == blessed
    assert blessing.get_int_custom_property("blessed") == int(blessed)


@pytest.mark.parametrize("changed", ["candidate", "baseline"])
def test_a_model_whose_labels_were_changed_is_not_judged(
    evaluate, model_artifact, int8_model, changed
):
    candidate, baseline = (
        model_artifact(int8_model, LABELS, name=name) for name in ("candidate", "baseline")
    )
    model = {"candidate": candidate, "baseline": baseline}[changed]
    (Path(model.uri) / "Format-Serving" / "labels.txt").write_text("rabbit\ndog\ncat\n")
    with pytest.raises(UserError, match=f"the TFLiteRewriter saw.* in {model.uri}: they were"):
        evaluate(candidate, baseline=baseline)


@pytest.mark.slow
def test_a_baseline_that_is_gone_is_left_out_with_a_word(
    evaluate, model_artifact, int8_model, caplog
):
    """As Vertex AI's resolver may choose it, which looks at no files."""
    candidate, baseline = (
        model_artifact(int8_model, LABELS, name=name) for name in ("candidate", "baseline")
    )
    shutil.rmtree(baseline.uri)
    evaluation, blessing = evaluate(candidate, baseline=baseline)
    assert evaluation.baseline_metrics is None
    assert blessing.get_int_custom_property("blessed") == 1
    assert f"no comparison with the last blessed model: {baseline.uri}" in caplog.text


@pytest.mark.parametrize(
    ("min_map50", "max_drop", "message"),
    [
        (None, 0.02, "minimum mAP50"),
        (0, 0.02, "Received: 0"),
        (1.5, 0.02, "at most 1"),
        (0.5, -0.1, "largest allowed drop"),
        (0.5, None, "largest allowed drop"),
    ],
)
def test_a_missing_or_impossible_bound_is_an_error(min_map50, max_drop, message):
    with pytest.raises(UserError, match=message):
        eval_config(LABELS, min_map50, max_drop)


def test_an_unfinished_evaluation_is_an_error(tmp_path):
    with pytest.raises(UserError, match="Expected a finished evaluation"):
        read_evaluation(str(tmp_path))


def test_the_extractor_is_found_by_its_module_path():
    # TFX takes a module that fails to import with an AttributeError for one without extractor,
    # and would go on with its own.
    properties = {"module_path": EXTRACTOR_MODULE}
    found = udf_utils.try_get_fn(properties, "custom_extractors")
    assert found.__module__ == custom_extractors.__module__


def model(model_id):
    artifact = standard_artifacts.Model()
    artifact.id = model_id
    artifact.set_string_custom_property("sha256", f"sha256 of {model_id}")
    return artifact


def blessing(model_id, blessed=1):
    artifact = standard_artifacts.ModelBlessing()
    artifact.set_int_custom_property("blessed", blessed)
    artifact.set_int_custom_property("current_model_id", model_id)
    return artifact


@pytest.fixture
def resolve(tmp_path):
    """Chooses among the models 10, 20 and 30, of which some have lost or changed their files."""
    opened = store.open_store(store.connection_config(str(tmp_path / "metadata.sqlite")))

    def resolve(candidate, blessings, gone=(), changed=(), unrecorded=()):
        models = [model(30), model(10), model(20)]
        for artifact in models:
            artifact.uri = str(tmp_path / str(artifact.id))
            os.makedirs(artifact.uri)
            file = Path(artifact.uri, "tflite")
            file.write_text("weights")
            if artifact.id not in unrecorded:
                facts.write_record(opened, "files", str(artifact.id), hash_files(artifact.uri))
            if artifact.id in gone:
                shutil.rmtree(artifact.uri)
            if artifact.id in changed:
                file.write_text("others")
        inputs = {
            "candidate": [model(candidate)],
            "model": models,
            "model_blessing": [blessing(*pair) for pair in blessings],
        }
        return BlessedBeforeStrategy().resolve_artifacts(opened, inputs)

    return resolve


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ({"unrecorded": [20]}, 20),  # nobody knows better
        ({"gone": [20]}, 10),
        ({"changed": [20]}, 10),
        ({"gone": [10]}, 20),
        ({"gone": [10], "changed": [20]}, None),
    ],
)
def test_a_baseline_whose_files_are_not_whole_is_left_out_with_a_word(
    resolve, caplog, damage, expected
):
    result = resolve(30, [(10, 1), (20, 1)], **damage)
    assert [artifact.id for artifact in result["model"]] == ([expected] if expected else [])
    assert len(result["model_blessing"]) == len(result["model"])
    assert ("no comparison with blessed model 20" in caplog.text) == (expected != 20)
    assert ("tflite has changed in" in caplog.text) == ("changed" in damage)


@pytest.mark.parametrize(
    ("candidate", "blessings", "expected"),
    [
        (30, [], None),
        (30, [(10, 1)], 10),
        (30, [(10, 1), (20, 1)], 20),
        (30, [(10, 1), (20, 0)], 10),  # not blessed
        (30, [(10, 1), (20, 1), (30, 1)], 20),  # never with itself
        (20, [(10, 1), (20, 1), (30, 1)], 10),  # an old model, run again
        (10, [(20, 1)], None),
        (30, [(99, 1)], None),  # a blessing whose model is gone
    ],
)
def test_the_baseline_is_the_last_blessed_model_before_the_candidate(
    resolve, candidate, blessings, expected
):
    result = resolve(candidate, blessings)
    assert [artifact.id for artifact in result["candidate"]] == [candidate]
    assert [artifact.id for artifact in result["model"]] == ([expected] if expected else [])
    blessed = [
        entry.get_int_custom_property("current_model_id") for entry in result["model_blessing"]
    ]
    assert blessed == ([expected] if expected else [])


def test_a_withdrawn_model_is_no_baseline(resolve, caplog, tmp_path):
    opened = store.open_store(store.connection_config(str(tmp_path / "metadata.sqlite")))
    facts.record_withdrawal(opened, "sha256 of 20", {"at": "today", "reason": "wrong labels"})
    result = resolve(30, [(10, 1), (20, 1)])
    assert [artifact.id for artifact in result["model"]] == [10]
    assert "model 20: it was withdrawn at today (wrong labels)" in caplog.text


def test_a_model_that_the_device_check_refused_is_no_baseline(resolve, caplog, tmp_path):
    opened = store.open_store(store.connection_config(str(tmp_path / "metadata.sqlite")))
    type_id = opened.put_artifact_type(metadata_store_pb2.ArtifactType(name="InfraBlessing"))

    def check(model_id, *reasons):
        report = metadata_store_pb2.Artifact(type_id=type_id)
        report.custom_properties["sha256"].string_value = f"sha256 of {model_id}"
        report.custom_properties["blessed"].int_value = int(not reasons)
        report.custom_properties["reasons"].string_value = json.dumps(reasons)
        opened.put_artifacts([report])

    check(10)
    check(20, "5.1 MB, at most 4 MB", "too slow")
    assert [artifact.id for artifact in resolve(30, [(10, 1), (20, 1)])["model"]] == [10]
    assert "model 20: DeviceCheck refused it (5.1 MB, at most 4 MB; too slow)" in caplog.text
    check(20)  # with other limits: it was pushed
    check(20, "too slow")
    for number in (10, 20, 30):
        shutil.rmtree(tmp_path / str(number))
    assert [artifact.id for artifact in resolve(30, [(10, 1), (20, 1)])["model"]] == [20]
