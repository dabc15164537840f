"""Evaluator, DeviceCheck and Pusher wired together, on one machine and as a Vertex job."""

import json
from pathlib import Path

import pytest
import tfx.v1 as tfx
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.types import standard_artifacts

from pipeline.shipping.device_check import DeviceCheck
from pipeline.shipping.evaluation import EXTRACTOR_MODULE, eval_config
from pipeline.shipping.pusher import Pusher
from tests.pipeline.tiny_detector import LABELS


def make_pipeline(root, examples, model, schema_dir, min_map50=0.1, metadata=None):
    """The end of the pipeline, after importers that stand for its beginning."""

    def importer(name, artifact_type, uri, properties=None):
        return tfx.dsl.Importer(
            source_uri=uri, artifact_type=artifact_type, properties=properties
        ).with_id(name)

    example_gen = importer(
        "ExampleGen", standard_artifacts.Examples, examples.uri, {"split_names": '["train","eval"]'}
    )
    rewriter = importer("Rewriter", standard_artifacts.Model, model.uri)
    schema = importer("Schema", standard_artifacts.Schema, schema_dir)
    baseline = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
        model=tfx.dsl.Channel(type=standard_artifacts.Model),
        model_blessing=tfx.dsl.Channel(type=standard_artifacts.ModelBlessing),
    ).with_id("Baseline")
    evaluator = tfx.components.Evaluator(
        examples=example_gen.outputs["result"],
        model=rewriter.outputs["result"],
        baseline_model=baseline.outputs["model"],
        eval_config=eval_config(LABELS, min_map50, max_drop=0.02),
        module_path=EXTRACTOR_MODULE,
    )
    device_check = DeviceCheck(
        model=rewriter.outputs["result"], examples=example_gen.outputs["result"]
    )
    pusher = Pusher(
        model=rewriter.outputs["result"],
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=device_check.outputs["blessing"],
        evaluation=evaluator.outputs["evaluation"],
        examples=example_gen.outputs["result"],
        schema=schema.outputs["result"],
        push_destination=str(root / "pushed"),
        fingerprints={"code": "c0de"},
    )
    return tfx.dsl.Pipeline(
        pipeline_name="judge",
        pipeline_root=str(root / "pipeline_root"),
        components=[example_gen, rewriter, schema, baseline, evaluator, device_check, pusher],
        metadata_connection_config=metadata,
        beam_pipeline_args=["--runner=FnApiRunner", "--direct_num_workers=1"],
        enable_cache=True,
    )


@pytest.fixture
def schema_dir(tmp_path):
    folder = tmp_path / "schema"
    folder.mkdir()
    (folder / "schema.pbtxt").write_text('feature { name: "image/encoded" type: BYTES }\n')
    return str(folder)


@pytest.mark.slow
def test_a_run_pushes_and_the_next_one_compares_with_it(
    tmp_path, examples_artifact, model_artifact, int8_model, float_model, schema_dir
):
    path = str(tmp_path / "metadata.sqlite")
    metadata = tfx.orchestration.metadata.sqlite_metadata_connection_config(path)
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = path

    def run(model, **settings):
        pipeline = make_pipeline(
            tmp_path, examples_artifact, model, schema_dir, metadata=metadata, **settings
        )
        tfx.orchestration.LocalDagRunner().run(pipeline)
        store = metadata_store.MetadataStore(config)
        pushed = max(store.get_artifacts_by_type("PushedModel"), key=lambda item: item.id)
        return pushed.custom_properties

    first = run(model_artifact(int8_model, LABELS, name="first"))
    assert first["pushed"].int_value == 1
    assert first["pushed_version"].string_value == "1"
    manifest = json.loads((tmp_path / "pushed" / "latest" / "manifest.json").read_text())
    assert manifest["run_id"]
    assert manifest["artifacts"]["model"]["id"] > 0
    assert manifest["gate"]["baseline_metrics"] is None

    worse = model_artifact(float_model, ("rabbit", "horse"), name="worse")
    second = run(worse, min_map50=1e-6)
    assert second["pushed"].int_value == 0
    assert (tmp_path / "pushed" / "latest").resolve().name == "1"
    evaluations = sorted(Path(tmp_path, "pipeline_root", "Evaluator", "evaluation").iterdir())
    assert len(evaluations) == 2


def test_the_components_compile_for_vertex(
    tmp_path, examples_artifact, model_artifact, int8_model, schema_dir
):
    pipeline = make_pipeline(
        tmp_path, examples_artifact, model_artifact(int8_model, LABELS), schema_dir
    )
    output = tmp_path / "job.json"
    tfx.orchestration.experimental.KubeflowV2DagRunner(
        config=tfx.orchestration.experimental.KubeflowV2DagRunnerConfig(default_image="image"),
        output_dir=str(tmp_path),
        output_filename=output.name,
    ).run(pipeline)
    job = json.loads(output.read_text())["pipelineSpec"]
    executors = json.dumps(job["deploymentSpec"]["executors"])
    for path in (
        "pipeline.shipping.pusher.Executor",
        "pipeline.shipping.device_check.DeviceCheck_Executor",
    ):
        assert path in executors
    parameters = json.dumps(job["root"]["dag"]["tasks"]["Evaluator"]["inputs"]["parameters"])
    assert EXTRACTOR_MODULE in parameters
