"""The training: its curves from TensorBoard's events, and what the network saw."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from models.settings import Augmentation
from models.training.input_pipeline import training_batches
from pipeline import features
from pipeline.report.pictures import to_data_uri
from pipeline.training.transformed_examples import read_transformed_examples

_NUM_SAMPLES = 12
# Pictures to draw the sample from, the first of the split.
_SAMPLED_FROM = 48
_SIDE = 256


def curves(model_run_uri: str) -> dict[str, list[list[float]]]:
    """The scalars of a training run: {tag: [[step, value], ...]}, the steps ascending.

    An interrupted run wrote some steps twice: the later value counts.
    """
    series: dict[str, dict[int, float]] = {}
    for path in sorted(tf.io.gfile.glob(os.path.join(model_run_uri, "*tfevents*"))):
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    number = float(tf.make_ndarray(value.tensor))
                    series.setdefault(value.tag, {})[event.step] = number
    return {
        tag: [[step, found[step]] for step in sorted(found) if np.isfinite(found[step])]
        for tag, found in series.items()
    }


def training_sample(
    patterns: list[str],
    *,
    input_size: int,
    augmentation: Augmentation,
    seed: int,
    class_names: Sequence[str],
) -> list[dict[str, Any]]:
    """Training pictures as the network sees them at the first step, augmented.

    Args:
      patterns: of Transform's files of the training split.
      input_size: of the network.
      augmentation: as trained with.
      seed: of the training.
      class_names: by class id.

    Returns:
      [{jpeg: data URI, boxes: [{label, box}]}]; boxes are (ymin, xmin, ymax, xmax), normalised.
    """
    examples = read_transformed_examples(patterns, features.CANVAS, limit=_SAMPLED_FROM)
    batches = training_batches(
        examples.records,
        input_size=input_size,
        batch_size=_NUM_SAMPLES,
        max_boxes=max(examples.max_boxes, 1),
        augmentation=augmentation,
        seed=seed,
        num_records=len(examples.image_ids),
        mosaic_steps=1,
    )
    images, targets = next(iter(batches))
    return [
        {
            "jpeg": to_data_uri(image, _SIDE),
            "boxes": [
                {"label": class_names[class_id], "box": [float(edge) for edge in box]}
                for box, class_id in zip(boxes, class_ids, strict=True)
                if class_id >= 0
            ],
        }
        for image, boxes, class_ids in zip(
            images.numpy(), targets["boxes"].numpy(), targets["class_ids"].numpy(), strict=True
        )
    ]
