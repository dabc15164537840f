"""The score on the test side: images that have chosen nothing, neither the weights nor the verdict.

They are scored once, when a file is published. A figure that somebody looks at before they decide
what to train next is no longer of images that have chosen nothing.
"""

import math
import os
from typing import Any

import tensorflow as tf
from tfx.types import Artifact, artifact_utils

from pipeline import features
from pipeline.data.raw_example import raw_examples, read_flags, read_objects
from pipeline.data.split import TEST
from pipeline.files import SERVING_FOLDER
from pipeline.shipping.coco_metric import Picture, PictureScorer
from pipeline.shipping.tflite_extractor import load_model, predict


def score_on_test(model: Artifact, examples: Artifact) -> dict[str, Any] | None:
    """Scores a file on the test images with the Evaluator's metric.

    Args:
      model: the shipping model.
      examples: the raw examples.

    Returns:
      {"images": how many, "metrics": figures by name, without those that are not a number}; None
      without test images.
    """
    if TEST not in artifact_utils.decode_split_names(examples.split_names):
        return None
    detector, labels = load_model(os.path.join(model.uri, SERVING_FOLDER))
    scorer = PictureScorer()
    for example in raw_examples(examples, TEST):
        scorer.add(_picture(example, detector, labels))
    figures = {name: value for name, value in scorer.metrics().items() if math.isfinite(value)}
    return {"images": scorer.num_pictures, "metrics": figures}


def _picture(example: tf.train.Example, detector, labels) -> Picture:
    values = example.features.feature
    found = predict(detector, labels, values[features.IMAGE_ENCODED].bytes_list.value[0])
    boxes, names = read_objects(example)
    difficult, crowd = read_flags(example)
    return Picture(
        source_id=values[features.SOURCE_ID].bytes_list.value[0].decode(),
        boxes=boxes,
        labels=names,
        detected_boxes=found["boxes"],
        detected_labels=found["labels"],
        scores=found["scores"],
        difficult=difficult,
        crowd=crowd,
    )
