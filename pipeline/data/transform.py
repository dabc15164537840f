"""Transform: measures the whole training split, and makes every training picture small once.

TFX's Transform analyses the training split and makes the graph; it reads all but the pictures.
`pipeline/data/materialize.py` then applies the graph, and writes the transformed examples.
"""

import json
import os

import apache_beam as beam
import tensorflow as tf
import tensorflow_transform as tft
from tfx import v1 as tfx
from tfx.components.transform import executor as transform_executor
from tfx.components.util import examples_utils
from tfx.dsl.components.base import executor_spec
from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils
from tfx.utils import io_utils

from pipeline import features
from pipeline.data.materialize import Task, TransformFiles
from pipeline.data.schema import class_names_of
from pipeline.data.split import TEST, TRAIN

_EXAMPLES = "transformed_examples"
PREPROCESSING_FN = "pipeline.data.transform.preprocessing_fn"
CLASS_COUNTS_VOCABULARY = "class_counts"
# Quantiles 0, 0.05 ... 1 of the boxes' sizes and ratios.
NUM_BUCKETS = 20


def preprocessing_fn(inputs, custom_config):
    """TFT's entry point: raw examples to what the Trainer reads.

    Args:
      inputs: raw features by name: scalars [B], those of objects ragged [B, None].
      custom_config: `class_names`, which `TransformExecutor` adds.

    Returns:
      Features by the names in `pipeline.features`, all but the pictures, among them the statistics
      of the training split, the same in every example: `MAX_BOXES`, `BOX_SIZES` and `BOX_RATIOS`.
    """
    # [B, None, 4] ragged, then flat per image.
    corners = [inputs[name] for name in features.BOX]
    boxes = tf.stack([corner.flat_values for corner in corners], axis=1)  # [n, 4]
    row_splits = corners[0].row_splits
    flat_boxes = tf.RaggedTensor.from_row_splits(tf.reshape(boxes, [-1]), row_splits * 4)

    names = inputs[features.CLASS_TEXT]
    difficult, crowd = (_aligned(inputs[name], names) for name in features.FLAGS)
    is_object = crowd.flat_values == 0
    tft.vocabulary(
        tf.boolean_mask(names.flat_values, is_object),
        vocab_filename=CLASS_COUNTS_VOCABULARY,
        store_frequency=True,
    )
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            tf.constant(custom_config["class_names"]),
            tf.range(len(custom_config["class_names"]), dtype=tf.int64),
        ),
        default_value=-1,
    )
    class_ids = names.with_flat_values(table.lookup(names.flat_values))

    objects = tf.boolean_mask(boxes, is_object)
    height, width = objects[:, 2] - objects[:, 0], objects[:, 3] - objects[:, 1]
    box_sizes, box_ratios = _quantiles(tf.sqrt(height * width)), _quantiles(height / width)
    max_boxes = tft.max(names.row_lengths())
    batch = tf.shape(inputs[features.SOURCE_ID])[0]
    return {
        features.BOXES_FLAT: flat_boxes,
        features.CLASS_IDS: class_ids,
        features.IS_DIFFICULT: difficult,
        features.IS_CROWD: crowd,
        features.TRANSFORMED_ID: inputs[features.SOURCE_ID],
        features.MAX_BOXES: tf.fill([batch, 1], max_boxes),
        features.BOX_SIZES: tf.tile(box_sizes[None], [batch, 1]),
        features.BOX_RATIOS: tf.tile(box_ratios[None], [batch, 1]),
    }


def _aligned(flags: tf.RaggedTensor, names: tf.RaggedTensor) -> tf.RaggedTensor:
    """int64 [B, None] with a flag for each name; 0 in images whose flags are absent."""
    dense = flags.to_tensor()
    missing = tf.maximum(names.bounding_shape(axis=1, out_type=tf.int32) - tf.shape(dense)[1], 0)
    return tf.RaggedTensor.from_tensor(tf.pad(dense, [[0, 0], [0, missing]]), names.row_lengths())


def _quantiles(values: tf.Tensor) -> tf.Tensor:
    """float32 [n] of a batch to float32 [21] of the whole training split."""
    inner = tft.quantiles(values, NUM_BUCKETS, epsilon=0.005)[0]
    return tf.concat([tft.min(values)[None], inner, tft.max(values)[None]], axis=0)


class TransformExecutor(transform_executor.Executor):
    """TFX's executor, and a writer of the transformed examples of its own."""

    def Do(self, input_dict, output_dict, exec_properties):
        """Runs TFX's executor with `class_names` in the custom config; then writes the examples."""
        folder = artifact_utils.get_single_uri(input_dict["schema"])
        schema = io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(folder))
        config = json.loads(exec_properties["custom_config"])
        config["class_names"] = class_names_of(schema)
        analysis = {name: kept for name, kept in output_dict.items() if name != _EXAMPLES}
        super().Do(input_dict, analysis, {**exec_properties, "custom_config": json.dumps(config)})
        self._write_examples(
            artifact_utils.get_single_instance(input_dict["examples"]),
            artifact_utils.get_single_instance(output_dict[_EXAMPLES]),
            artifact_utils.get_single_uri(output_dict["transform_graph"]),
            config["canvas_size"],
        )

    def _write_examples(
        self, raw: Artifact, transformed: Artifact, graph: str, canvas_size: int
    ) -> None:
        # Nothing that learns or chooses gets to see the test side.
        splits = [s for s in artifact_utils.decode_split_names(raw.split_names) if s != TEST]
        transformed.split_names = artifact_utils.encode_split_names(splits)
        examples_utils.set_payload_format(transformed, examples_utils.get_payload_format(raw))
        tasks = []
        for split in splits:
            source, target = (
                artifact_utils.get_split_uri([artifact], split) for artifact in (raw, transformed)
            )
            size = canvas_size if split == TRAIN else None
            for name in sorted(fileio.listdir(source)):
                paths = (os.path.join(folder, name) for folder in (source, target))
                tasks.append(Task(*paths, size))
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Files" >> beam.Create(tasks)
                | "HandOut" >> beam.Reshuffle()
                | "Transform" >> beam.ParDo(TransformFiles(graph))
            )


class DetectionTransform(tfx.components.Transform):
    """Transform with `TransformExecutor`; its id is `Transform`."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(TransformExecutor)

    def __init__(self, examples, schema, canvas_size: int, code_fingerprint: str):
        super().__init__(
            examples=examples,
            schema=schema,
            preprocessing_fn=PREPROCESSING_FN,
            # They would add nothing to those of StatisticsGen.
            disable_statistics=True,
            custom_config={
                "canvas_size": canvas_size,
                "code_fingerprint": code_fingerprint,
            },
        )
        self.with_id("Transform")
