"""The end of the real pipeline, with importers in place of the components before it."""

import json
import shutil
from pathlib import Path

import pytest
import tfx.v1 as tfx
from ml_metadata.metadata_store import metadata_store
from tfx.types import standard_artifacts

from pipeline import presets
from pipeline.beam_options import IN_PROCESS
from pipeline.config import override
from pipeline.errors import UserError
from pipeline.pipeline import judge_and_push
from pipeline.shipping.coco_metric import Picture
from pipeline.shipping.gate import read_evaluation
from pipeline.shipping.judged_pictures import (
    BASELINE,
    CANDIDATE,
    read_judged_pictures,
    read_thresholds,
)
from tests.pipeline.shipping.test_coco_metric import score_pictures
from tests.pipeline.tiny_detector import LABELS, described


@pytest.fixture
def run(tmp_path, examples_artifact):
    """Judges a shipping model, and pushes it if blessed; gives the newest artifacts by type."""
    (tmp_path / "schema").mkdir()
    (tmp_path / "schema" / "schema.pbtxt").write_text('feature { name: "image/encoded" }\n')
    connection = tfx.orchestration.metadata.sqlite_metadata_connection_config(
        str(tmp_path / "metadata.sqlite")
    )
    config = override(
        presets.load("demo"),
        {
            "evaluation.min_map50": 1e-6,
            "evaluation.max_drop": 0.02,
            "push.destination": str(tmp_path / "pushed"),
        },
    )

    def importer(name, artifact_type, uri, **properties):
        return tfx.dsl.Importer(source_uri=uri, artifact_type=artifact_type, **properties).with_id(
            name
        )

    def make(model, lost_versions=()):
        configured = override(config, {"execution.lost_versions": list(lost_versions)})
        splits = {"split_names": examples_artifact.split_names}
        hashed = {"files_sha256": model.get_string_custom_property("files_sha256")}
        imported = [
            importer(
                "ExampleGen",
                standard_artifacts.Examples,
                examples_artifact.uri,
                properties=splits,
            ),
            importer("SchemaGen", standard_artifacts.Schema, str(tmp_path / "schema")),
            importer(
                "TFLiteRewriter", standard_artifacts.Model, model.uri, custom_properties=hashed
            ),
        ]
        channels = [component.outputs["result"] for component in imported]
        tfx.orchestration.LocalDagRunner().run(
            tfx.dsl.Pipeline(
                pipeline_name="judge",
                pipeline_root=str(tmp_path / "pipeline_root"),
                components=[*imported, *judge_and_push(configured, *channels)],
                metadata_connection_config=connection,
                beam_pipeline_args=list(IN_PROCESS),
                enable_cache=True,
            )
        )
        store = metadata_store.MetadataStore(connection)
        return {
            name: max(store.get_artifacts_by_type(name), key=lambda artifact: artifact.id)
            for name in ("PushedModel", "ModelEvaluation")
        }

    return make


def scores_of(kept, model):
    """The metrics of detections that were kept."""
    pictures = [
        Picture(p.source_id, p.boxes, p.labels, p.found[model].boxes, p.found[model].labels,
                p.found[model].scores)
        for p in kept
    ]  # fmt: skip
    return score_pictures(pictures, None)


@pytest.mark.slow
def test_a_blessed_model_is_pushed_and_becomes_the_next_one_s_baseline(
    tmp_path, run, model_artifact, int8_model
):
    good = model_artifact(int8_model, LABELS, name="good")
    first = run(good)
    assert first["PushedModel"].custom_properties["pushed"].int_value == 1
    assert first["PushedModel"].custom_properties["pushed_version"].string_value == "1"
    manifest = json.loads((tmp_path / "pushed" / "latest" / "manifest.json").read_text())
    assert manifest["run_id"]
    assert manifest["artifacts"]["model"]["id"] > 0
    assert manifest["gate"]["baseline_metrics"] is None
    kept = read_judged_pictures(first["ModelEvaluation"].uri)
    assert scores_of(kept, CANDIDATE) == manifest["metrics"]
    assert manifest["score_thresholds"] == read_thresholds(first["ModelEvaluation"].uri)
    assert manifest["score_thresholds"]["all"]["threshold"] > 0

    # The same detections under other names: nothing but the drop speaks against it.
    others = ("cat", "rabbit", "dog")
    second = run(model_artifact(described(int8_model, others), others, name="worse"))
    judged = read_evaluation(second["ModelEvaluation"].uri)
    assert judged.baseline_metrics == manifest["metrics"]
    assert [condition.kind for condition in judged.thresholds if not condition.passed] == ["change"]
    kept = read_judged_pictures(second["ModelEvaluation"].uri)
    assert scores_of(kept, CANDIDATE) == judged.metrics
    assert scores_of(kept, BASELINE) == judged.baseline_metrics
    assert second["PushedModel"].custom_properties["pushed"].int_value == 0
    assert (tmp_path / "pushed" / "latest").resolve().name == "1"

    # The first one again is not compared with itself: everything is cached.
    third = run(good)
    assert {name: artifact.id for name, artifact in third.items()} == {
        name: artifact.id for name, artifact in second.items()
    }
    assert len(list(Path(tmp_path, "pipeline_root", "Evaluator", "evaluation").iterdir())) == 2


@pytest.mark.slow
def test_labels_that_are_reversed_after_the_judgement_are_never_pushed(
    tmp_path, run, model_artifact, int8_model
):
    model = model_artifact(int8_model, LABELS)
    run(model)
    labels = Path(model.uri) / "Format-Serving" / "labels.txt"
    labels.write_text("rabbit\ndog\ncat\n")
    # Both judges are cached; the Pusher runs again, since what it had pushed is gone.
    shutil.rmtree(tmp_path / "pushed")
    with pytest.raises(UserError, match=r"detect\.tflite and labels\.txt that the Evaluator saw"):
        run(model, lost_versions=["1"])
    assert not (tmp_path / "pushed").exists()
