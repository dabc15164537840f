"""The pipeline: what is wired to what. Both runners build it from the same configuration."""

import json

import tensorflow_data_validation as tfdv
import tfx.v1 as tfx
from google.protobuf import text_format
from ml_metadata.proto import metadata_store_pb2
from tfx.components.example_gen.component import FileBasedExampleGen
from tfx.dsl.components.base.base_node import BaseNode
from tfx.types import BaseChannel, standard_artifacts
from tfx.v1.extensions import google_cloud_ai_platform

from models.weights.source import kind_of
from pipeline import features
from pipeline.config import PipelineConfig
from pipeline.data.example_gen import DetectionExampleGen
from pipeline.data.example_validator import StrictExampleValidator
from pipeline.data.schema import load_schema
from pipeline.data.schema_gen import CuratedSchemaGen, DetectionSchemaGen
from pipeline.data.transform import DetectionTransform
from pipeline.fingerprint import code_fingerprint, environment_fingerprint, fingerprint_of
from pipeline.report.component import Report
from pipeline.report.page import templates_fingerprint
from pipeline.shipping.device_check import DeviceCheck
from pipeline.shipping.evaluator import DetectionEvaluator
from pipeline.shipping.gate import EXTRACTOR_MODULE, BlessedBeforeStrategy, eval_config
from pipeline.shipping.pusher import Pusher
from pipeline.shipping.rewriter import TFLiteRewriter
from pipeline.training import trainer

# The sections of the configuration that training depends on: others may change without it.
_TRAINING_SECTIONS = {
    "model",
    "augmentation",
    "training",
    "warm_start",
    "quantization",
    "post_processing",
}
_REPORT_SECTIONS = ("model", "augmentation", "training", "quantization", "report")

# The modules whose code decides the bytes of a file; an edit of theirs makes another one anyway.
_MAKERS = (
    "pipeline.data.example_gen",
    "pipeline.data.transform",
    "pipeline.training.trainer",
    "pipeline.shipping.rewriter",
)


def create_pipeline(
    config: PipelineConfig,
    metadata_connection_config: metadata_store_pb2.ConnectionConfig | None = None,
) -> tfx.dsl.Pipeline:
    """Wires the components.

    Args:
      config: complete, with the runner's locations.
      metadata_connection_config: of the local runner's ML Metadata store; Vertex AI has its own.

    Returns:
      The pipeline, for either runner.

    Raises:
      UserError: settings that contradict each other or the file system.
    """
    settings = config.model_dump(mode="json")

    example_gen = example_gen_of(config)
    examples = example_gen.outputs["examples"]

    statistics_gen = tfx.components.StatisticsGen(
        examples=examples,
        stats_options=tfdv.StatsOptions(
            # All but the pictures' bytes, which have no statistics worth their time.
            feature_allowlist=[
                *(name for name in features.REQUIRED if name != features.IMAGE_ENCODED),
                *features.BOX,
                features.CLASS_TEXT,
                *features.FLAGS,
            ],
        ),
    )
    statistics = statistics_gen.outputs["statistics"]

    schema_code = code_fingerprint("pipeline.data.schema_gen")
    if config.schema_dir:
        curated = text_format.MessageToString(load_schema(config.schema_dir))
        schema_gen = CuratedSchemaGen(schema_text=curated, code_fingerprint=schema_code).with_id(
            "SchemaGen"
        )
    else:
        schema_gen = DetectionSchemaGen(statistics, schema_code)
    schema = schema_gen.outputs["schema"]

    example_validator = StrictExampleValidator(
        statistics, schema, code_fingerprint("pipeline.data.example_validator")
    )

    transform = DetectionTransform(
        examples=examples,
        schema=schema,
        canvas_size=config.transform.canvas_size,
        code_fingerprint=code_fingerprint("pipeline.data.transform"),
    )
    transform.add_upstream_node(example_validator)  # bad data stops here

    warm_start = _warm_start(config)
    trainer_ = _trainer_class(config)(
        run_fn=trainer.RUN_FN,
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema,
        base_model=warm_start.outputs["result"] if warm_start else None,
        train_args=tfx.proto.TrainArgs(splits=["train"], num_steps=config.training.steps),
        eval_args=tfx.proto.EvalArgs(splits=["eval"]),
        custom_config={
            "settings": {name: settings[name] for name in sorted(_TRAINING_SECTIONS)},
            "canvas_size": config.transform.canvas_size,
            "state_dir": config.execution.state_dir,
            "code_fingerprint": code_fingerprint("pipeline.training.trainer"),
            **(config.execution.training_service or {}),
        },
    )

    rewriter = TFLiteRewriter(
        model=trainer_.outputs["model"],
        examples=examples,
        quantization=config.quantization,
        post_processing=json.dumps(settings["post_processing"], sort_keys=True),
        comparison=json.dumps(settings["rewriter"], sort_keys=True),
        provenance=json.dumps(
            {
                "code": code_fingerprint(*_MAKERS),
                "settings": fingerprint_of(config.making()),
            },
            sort_keys=True,
        ),
        code_fingerprint=code_fingerprint("pipeline.shipping.rewriter"),
    )
    components: list[BaseNode] = [
        example_gen,
        statistics_gen,
        schema_gen,
        example_validator,
        transform,
        *([warm_start] if warm_start else []),
        trainer_,
        rewriter,
    ]
    judges = judge_and_push(config, examples, schema, rewriter.outputs["shipping_model"])
    _, evaluator, device_check, pusher = judges
    report = Report(
        {
            "examples": examples,
            "transformed_examples": transform.outputs["transformed_examples"],
            "model": trainer_.outputs["model"],
            "model_run": trainer_.outputs["model_run"],
            "shipping_model": rewriter.outputs["shipping_model"],
            "evaluation": evaluator.outputs["evaluation"],
            "infra_blessing": device_check.outputs["blessing"],
            "pushed_model": pusher.outputs["pushed_model"],
        },
        settings={name: settings[name] for name in _REPORT_SECTIONS},
        code_fingerprint=f"{code_fingerprint('pipeline.report.component')}-{templates_fingerprint()}",
    )
    components += [*judges, report]
    return tfx.dsl.Pipeline(
        pipeline_name=config.name,
        pipeline_root=config.execution.pipeline_root,
        components=components,
        enable_cache=True,
        metadata_connection_config=metadata_connection_config,
        beam_pipeline_args=list(config.execution.beam_args),
    )


def judge_and_push(
    config: PipelineConfig, examples: BaseChannel, schema: BaseChannel, shipping_model: BaseChannel
) -> list[BaseNode]:
    """Wires the two judges of a shipping model, and the Pusher that obeys them.

    Args:
      config: see `create_pipeline`.
      examples: raw examples.
      schema: of the examples.
      shipping_model: the TFLiteRewriter's.
    """
    # The Evaluator scores the file that ships, against the one that was last blessed.
    baseline = _baseline(config, shipping_model)
    evaluator = DetectionEvaluator(
        examples=examples,
        model=shipping_model,
        baseline_model=baseline.outputs["model"],
        example_splits=["eval"],
        eval_config=eval_config(
            class_names=None,
            min_map50=config.evaluation.min_map50,
            max_drop=config.evaluation.max_drop,
            code_fingerprint=code_fingerprint(
                EXTRACTOR_MODULE, "pipeline.shipping.coco_metric", "pipeline.shipping.evaluator"
            ),
        ),
        module_path=EXTRACTOR_MODULE,
    )

    device_check = DeviceCheck(
        model=shipping_model,
        examples=examples,
        quantized=config.quantization != "none",
        max_bytes=int(config.device.max_size_mb * 1_000_000),
        max_latency_ms=config.device.max_latency_ms,
        num_images=config.device.num_images,
        code_fingerprint=code_fingerprint("pipeline.shipping.device_check"),
    )

    pusher = Pusher(
        model=shipping_model,
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=device_check.outputs["blessing"],
        evaluation=evaluator.outputs["evaluation"],
        examples=examples,
        schema=schema,
        push_destination=config.push.destination,
        fingerprints={
            "code": code_fingerprint("pipeline.pipeline"),
            "configuration": fingerprint_of(config.decisive()),
            "environment": environment_fingerprint(),
        },
        lost_versions=config.execution.lost_versions,
    )
    return [baseline, evaluator, device_check, pusher]


def example_gen_of(config: PipelineConfig) -> FileBasedExampleGen:
    """The ExampleGen of the configured data set.

    Raises:
      UserError: when the settings contradict each other or a folder does not exist.
    """
    data = config.data
    # An own split is lists of ids within the data set, or a data set for each side.
    lists = data.train.endswith(".txt")
    return DetectionExampleGen(
        data.path or None,
        train_list=data.train if lists else None,
        eval_list=data.eval if lists else None,
        test_list=data.test if data.test and lists else None,
        train_data=data.train if data.train and not lists else None,
        eval_data=data.eval if data.eval and not lists else None,
        test_data=data.test if data.test and not lists else None,
        data_format=data.format,
        images=data.images or None,
        annotations=data.annotations or None,
        class_from=data.class_from,
        eval_fraction=data.eval_fraction,
        max_set_aside=data.max_set_aside,
        max_megapixels=data.max_megapixels,
        code_fingerprint=code_fingerprint("pipeline.data.example_gen"),
    )


def _baseline(config: PipelineConfig, candidate: BaseChannel) -> BaseNode:
    channels = {
        "model": tfx.dsl.Channel(type=standard_artifacts.Model),
        "model_blessing": tfx.dsl.Channel(type=standard_artifacts.ModelBlessing),
    }
    if config.execution.stock_resolver:
        strategy = tfx.dsl.experimental.LatestBlessedModelStrategy
    else:
        strategy = BlessedBeforeStrategy
        channels["candidate"] = candidate
    resolver = tfx.dsl.Resolver(strategy_class=strategy, **channels)
    return resolver.with_id("LatestBlessedModel")


def _trainer_class(config: PipelineConfig) -> type[tfx.components.Trainer]:
    """The Trainer that trains here, or the one that has a service train."""
    if config.execution.training_service is None:
        return tfx.components.Trainer
    return google_cloud_ai_platform.Trainer


def _warm_start(config: PipelineConfig) -> BaseNode | None:
    """The weights as an artifact: an earlier run's model keeps its identity, and its lineage."""
    weights = config.warm_start.weights
    if not weights or weights == "imagenet":
        return None
    # Compiling reads no bucket, unless the weights were read there already.
    kind = kind_of(weights, look="://" not in weights or bool(config.warm_start.sha256))
    return tfx.dsl.Importer(
        # A copy of a model that the store knows is that model.
        source_uri=config.execution.warm_start_uri or weights,
        artifact_type=standard_artifacts.Model,
        # An artifact that exists is taken up only as it is: nothing is added to a model of ours.
        custom_properties=(
            {"sha256": config.warm_start.sha256, "kind": kind, "source": weights}
            if kind != "detector"
            else None
        ),
    ).with_id("WarmStart")
