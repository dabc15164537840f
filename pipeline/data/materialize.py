"""Writes the transformed examples, a file for each file of raw examples.

TFX's Transform would write them as well, but through gzip, which costs more than all the rest and
gains nothing on pictures, and on one core. Here `tf.data` decodes, resizes and compresses on all
cores of a worker, and Beam hands out files to workers; pictures do not pass through Beam.
"""

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import tensorflow as tf
import tensorflow_transform as tft

from models.image import decode_image, encode_canvas, resize
from pipeline import features

_BATCH = 32


class Task(NamedTuple):
    """A TFRecord file to transform.

    Attributes:
      source: of raw examples.
      target: of transformed ones, in the same order.
      canvas_size: side in pixels of the pictures to write; None keeps the original files.
    """

    source: str
    target: str
    canvas_size: int | None


class TransformFiles(beam.DoFn):
    """Transforms files of raw examples.

    Args:
      transform_graph: folder of the graph that Transform made.
    """

    def __init__(self, transform_graph: str):
        self._transform_graph = transform_graph

    def setup(self):
        """Loads the graph."""
        output = tft.TFTransformOutput(self._transform_graph)
        self._spec = output.raw_feature_spec()
        self._graph = output.transform_features_layer()
        self._functions = {}

    def process(self, task: Task) -> None:
        """Transforms a file; once more makes no difference."""
        tf.io.gfile.makedirs(os.path.dirname(task.target))
        batches = (
            tf.data.TFRecordDataset(task.source)
            .batch(_BATCH)
            .map(self._function(task.canvas_size), num_parallel_calls=os.cpu_count())
            .prefetch(1)
        )
        with tf.io.TFRecordWriter(task.target) as writer:
            for batch in batches:
                for example in _examples(batch):
                    writer.write(example.SerializeToString(deterministic=True))

    def _function(self, canvas_size: int | None) -> Any:
        """From serialized raw examples [B] to transformed features by name; traced once."""

        def transform(records: tf.Tensor) -> dict[str, tf.Tensor | tf.RaggedTensor]:
            raw = tf.io.parse_example(records, self._spec)
            encoded = raw.pop(features.IMAGE_ENCODED)
            return self._graph(raw) | _pictures(encoded, canvas_size)

        if canvas_size not in self._functions:
            signature = [tf.TensorSpec([None], tf.string)]
            self._functions[canvas_size] = tf.function(
                transform, input_signature=signature, autograph=False
            )
        return self._functions[canvas_size]


def _pictures(encoded: tf.Tensor, canvas_size: int | None) -> dict[str, tf.Tensor]:
    if canvas_size is None:
        return {features.IMAGE_ENCODED: encoded}

    def canvas(picture: tf.Tensor) -> tf.Tensor:
        return encode_canvas(resize(decode_image(picture), canvas_size))

    return {features.CANVAS: tf.map_fn(canvas, encoded)}


def _examples(
    batch: dict[str, tf.Tensor | tf.RaggedTensor],
) -> Iterator[tf.train.Example]:
    """The rows of a batch."""
    columns = {
        name: values.to_list() if isinstance(values, tf.RaggedTensor) else values.numpy()
        for name, values in batch.items()
    }
    for row in range(len(columns[features.TRANSFORMED_ID])):
        example = tf.train.Example()
        for name, column in columns.items():
            feature, dtype = example.features.feature[name], batch[name].dtype
            if dtype == tf.string:
                feature.bytes_list.value.append(column[row])
            elif dtype.is_floating:
                feature.float_list.value.extend(column[row])
            else:
                feature.int64_list.value.extend(column[row])
        yield example
