"""Transform: decodes and resizes every picture once, and measures the whole training split."""

import json

import tensorflow as tf
import tensorflow_transform as tft
from tfx import v1 as tfx
from tfx.components.transform import executor as transform_executor
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils
from tfx.utils import io_utils

from models.image import decode_image, resize
from pipeline import features
from pipeline.data.schema import class_names_of

PREPROCESSING_FN = "pipeline.data.transform.preprocessing_fn"
CLASS_COUNTS_VOCABULARY = "class_counts"
# Quantiles 0, 0.05 ... 1 of the boxes' sizes and ratios.
NUM_BUCKETS = 20


def preprocessing_fn(inputs, custom_config):
    """TFT's entry point: raw examples to what the Trainer reads.

    Args:
      inputs: raw features by name: scalars [B], those of objects ragged [B, None].
      custom_config: `canvas_size`, `input_size`, and `class_names`, which `TransformExecutor` adds.

    Returns:
      Features by the names in `pipeline.features`, among them the statistics of the training
      split, the same in every example: `MAX_BOXES`, `BOX_SIZES` and `BOX_RATIOS`.
    """
    sizes = {
        features.CANVAS: custom_config["canvas_size"],
        # From the original rather than the canvas: a picture that is resized twice is softer than
        # what the device sees.
        features.PICTURE: custom_config["input_size"],
    }

    def views(encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        image = decode_image(encoded)
        return {name: tf.io.serialize_tensor(resize(image, size)) for name, size in sizes.items()}

    pixels = tf.map_fn(
        views,
        inputs[features.IMAGE_ENCODED],
        fn_output_signature=dict.fromkeys(sizes, tf.string),
    )

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
    batch = tf.shape(pixels[features.CANVAS])[0]
    return {
        **pixels,
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
    """Passes the schema's classes to `preprocessing_fn`, to which TFX gives no schema."""

    def Do(self, input_dict, output_dict, exec_properties):
        """Runs TFX's executor with `class_names` in the custom config."""
        folder = artifact_utils.get_single_uri(input_dict["schema"])
        schema = io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(folder))
        config = json.loads(exec_properties["custom_config"])
        config["class_names"] = class_names_of(schema)
        super().Do(
            input_dict, output_dict, {**exec_properties, "custom_config": json.dumps(config)}
        )


class DetectionTransform(tfx.components.Transform):
    """Transform with `TransformExecutor`; its id is `Transform`."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(TransformExecutor)

    def __init__(self, examples, schema, canvas_size: int, input_size: int, code_fingerprint: str):
        super().__init__(
            examples=examples,
            schema=schema,
            preprocessing_fn=PREPROCESSING_FN,
            # Statistics of pixels add nothing to those of StatisticsGen.
            disable_statistics=True,
            custom_config={
                "canvas_size": canvas_size,
                "input_size": input_size,
                "code_fingerprint": code_fingerprint,
            },
        )
        self.with_id("Transform")
