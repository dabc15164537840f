import re

import pytest

from pipeline import presets
from pipeline.config import override
from pipeline.errors import UserError
from pipeline.fingerprint import ROOT, import_closure
from pipeline.pipeline import create_pipeline
from tests.pipeline.data_samples import VocFolder

STEPS = [
    "ExampleGen",
    "StatisticsGen",
    "SchemaGen",
    "ExampleValidator",
    "Transform",
    "Trainer",
    "TFLiteRewriter",
    "LatestBlessedModel",
    "Evaluator",
    "DeviceCheck",
    "Pusher",
    "Report",
]


@pytest.fixture
def complete(tmp_path):
    """Completes a preset as the runner does."""
    VocFolder(tmp_path / "data").fill(3)

    def make(preset="demo", **changes):
        locations = {
            "data.path": str(tmp_path / "data"),
            "execution.pipeline_root": str(tmp_path / "root"),
            "execution.state_dir": str(tmp_path / "state"),
            "push.destination": str(tmp_path / "pushed"),
        }
        config = presets.load(preset)
        if config.schema_dir:
            locations["schema_dir"] = str(ROOT / config.schema_dir)
        return override(config, locations | changes)

    return make


def ids(pipeline):
    return [component.id for component in pipeline.components]


def properties(pipeline, component):
    (found,) = (entry for entry in pipeline.components if entry.id == component)
    return found.exec_properties


@pytest.mark.parametrize("preset", presets.names())
def test_every_preset_has_all_steps(complete, preset):
    pipeline = create_pipeline(complete(preset))
    assert sorted(ids(pipeline)) == sorted(STEPS)
    assert pipeline.enable_cache


def test_bad_data_stops_before_transform(complete):
    pipeline = create_pipeline(complete())
    (transform,) = (entry for entry in pipeline.components if entry.id == "Transform")
    assert "ExampleValidator" in {node.id for node in transform.upstream_nodes}


def test_a_warm_start_file_is_an_artifact(complete, tmp_path):
    path = str(tmp_path / "w.tflite")
    weights = {"warm_start.weights": path, "warm_start.sha256": "5a"}
    components = create_pipeline(complete(**weights)).components
    (importer,) = (node for node in components if node.id == "WarmStart")
    properties = importer.outputs["result"].additional_custom_properties
    assert properties == {"sha256": "5a", "kind": "tflite", "source": path}
    downloaded = create_pipeline(complete(**{"warm_start.weights": "imagenet"}))
    assert "WarmStart" not in ids(downloaded)


@pytest.mark.parametrize(
    ("change", "trains"),
    [
        ({"training.learning_rate": 0.001}, True),
        ({"quantization": "none"}, True),
        ({"evaluation.min_map50": 0.5}, False),
        ({"device.max_size_mb": 2.0}, False),
        ({"rewriter.num_images": 3}, False),
    ],
)
def test_only_what_training_depends_on_trains_again(complete, change, trains):
    before = properties(create_pipeline(complete()), "Trainer")
    after = properties(create_pipeline(complete(**change)), "Trainer")
    assert (before != after) == trains


@pytest.mark.parametrize(
    ("component", "module", "changes"),
    [
        ("ExampleGen", "pipeline.data.example_gen_executor", {}),
        ("ExampleGen", "pipeline.data.readers.voc", {}),
        ("ExampleGen", "pipeline.data.readers.coco", {}),
        ("ExampleGen", "pipeline.data.readers.yolo", {}),
        ("ExampleGen", "pipeline.data.readers.tfrecord", {}),
        ("SchemaGen", "pipeline.data.schema_gen", {}),
        ("SchemaGen", "pipeline.data.schema", {"schema_dir": ""}),
        ("ExampleValidator", "pipeline.data.example_validator", {}),
        ("Transform", "models.image", {}),
        ("Trainer", "models.training.run", {}),
        ("TFLiteRewriter", "models.tflite.export", {}),
        ("Evaluator", "pipeline.shipping.tflite_extractor", {}),
        ("Evaluator", "models.training.coco", {}),
        ("DeviceCheck", "pipeline.shipping.app_check", {}),
        ("Pusher", "pipeline.shipping.folder_publisher", {}),
        ("Report", "pipeline.report.page", {}),
    ],
)
def test_the_code_behind_a_component_is_part_of_its_cache_key(
    complete, monkeypatch, component, module, changes
):
    monkeypatch.setattr(
        "pipeline.pipeline.code_fingerprint",
        lambda *modules: " ".join(sorted(import_closure(modules))),
    )
    found = properties(create_pipeline(complete(**changes)), component)
    assert module in re.findall(r"[\w.]+", str(found))


@pytest.mark.parametrize(
    ("change", "pushes"),
    [
        ({"vertex.project": "another"}, False),
        ({"execution.beam_args": ["--runner=FnApiRunner"]}, False),
        ({"report.max_mb": 1.0}, False),
        ({"training.learning_rate": 0.001}, True),
        ({"execution.lost_versions": ["1:5a"]}, True),
    ],
)
def test_only_what_a_push_depends_on_pushes_again(complete, change, pushes):
    before = properties(create_pipeline(complete()), "Pusher")
    after = properties(create_pipeline(complete(**change)), "Pusher")
    assert (before != after) == pushes


def test_a_gate_without_a_threshold_is_refused(complete):
    with pytest.raises(UserError, match="min_map50"):
        create_pipeline(complete(**{"evaluation.min_map50": None}))
