"""Gives the Evaluator the detections of the .tflite that ships.

The Evaluator finds `custom_extractors` by this module's path. TFMA's own extractor for TFLite
neither decodes pictures nor knows detections; this one turns raw tf.Examples into labels and
predictions, one picture at a time, as an app would.
"""

import os
from collections.abc import Mapping, Sequence

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tfx.v1  # noqa: F401 - TFX patches EvalConfig into TFMA, so it comes first
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.extractors import slice_key_extractor
from tensorflow_model_analysis.extractors.extractor import Extractor
from tfx.dsl.io import fileio

from models.image import decode_and_resize
from models.labels import parse_labels
from models.tflite.detector import TFLiteDetector
from pipeline import features
from pipeline.data.raw_example import read_flags, read_objects
from pipeline.files import LABELS_FILE, SHIPPING_MODEL_FILE
from pipeline.shipping.judged_pictures import DETECTIONS_SUFFIX, recording_path, to_line


def custom_extractors(eval_shared_model, eval_config, tensor_adapter_config) -> list[Extractor]:
    """Called by the Evaluator; see `tfx.components.Evaluator`'s `module_path`.

    Args:
      eval_shared_model: one model or a list of them; only names and paths are used.
      eval_config: as `pipeline.shipping.gate.eval_config` makes it.
      tensor_adapter_config: unused, as raw records are parsed here.

    Returns:
      Extractors from Arrow batches of raw records to unbatched extracts: `labels` {source_id,
      width, height, boxes, labels, difficult, crowd} and `predictions` {boxes, labels, scores};
      with two models, predictions by model name. See `pipeline.shipping.coco_metric.Picture`.
    """
    del tensor_adapter_config
    models = eval_shared_model if isinstance(eval_shared_model, list) else [eval_shared_model]
    model_dirs = {model.model_name if len(models) > 1 else "": model.model_path for model in models}
    path = recording_path()
    return [
        Extractor("ExtractDetections", beam.ParDo(_DetectDoFn(model_dirs))),
        *([Extractor("RecordDetections", _Record(path))] if path else []),
        slice_key_extractor.SliceKeyExtractor(eval_config=eval_config),
    ]


class _Record(beam.PTransform):
    """Passes extracts on, and writes what is judged in them, see `judged_pictures`."""

    def __init__(self, path: str):
        super().__init__()
        self._path = path

    def expand(self, extracts):
        lines = extracts | "ToLine" >> beam.Map(
            lambda found: to_line(found[constants.LABELS_KEY], found[constants.PREDICTIONS_KEY])
        )
        # As many files as Beam likes: for a single one, it would hold all lines in memory.
        _ = lines | beam.io.WriteToText(self._path, DETECTIONS_SUFFIX)
        return extracts


class _DetectDoFn(beam.DoFn):
    """Runs each model on each picture of a batch.

    Classes are names, not ids: candidate and baseline may have learned different classes.
    """

    def __init__(self, model_dirs: Mapping[str, str]):
        self._model_dirs = dict(model_dirs)
        self._models = {}

    def setup(self):
        self._models = {name: load_model(path) for name, path in self._model_dirs.items()}

    def process(self, batch):
        records = batch[constants.ARROW_RECORD_BATCH_KEY].column(constants.ARROW_INPUT_COLUMN)
        for [record] in records.to_pylist():
            yield self._extracts(tf.train.Example.FromString(record))

    def _extracts(self, example):
        values = example.features.feature
        encoded = values[features.IMAGE_ENCODED].bytes_list.value[0]
        predictions = {
            name: predict(detector, labels, encoded)
            for name, (detector, labels) in self._models.items()
        }
        boxes, labels = read_objects(example)
        difficult, crowd = read_flags(example)
        return {
            constants.LABELS_KEY: {
                "source_id": values[features.SOURCE_ID].bytes_list.value[0].decode(),
                "width": values[features.IMAGE_WIDTH].int64_list.value[0],
                "height": values[features.IMAGE_HEIGHT].int64_list.value[0],
                "boxes": boxes,
                "labels": labels,
                "difficult": difficult,
                "crowd": crowd,
            },
            constants.PREDICTIONS_KEY: predictions.get("", predictions),
        }


def load_model(model_dir: str) -> tuple[TFLiteDetector, tuple[str, ...]]:
    """Loads the detector and the labels of a shipping model's `Format-Serving` folder or URL."""
    with fileio.open(os.path.join(model_dir, SHIPPING_MODEL_FILE), "rb") as file:
        detector = TFLiteDetector(file.read())
    labels_path = os.path.join(model_dir, LABELS_FILE)
    with fileio.open(labels_path, "r") as file:
        return detector, parse_labels(file.read(), labels_path)


def predict(
    detector: TFLiteDetector, labels: Sequence[str], encoded: bytes
) -> dict[str, np.ndarray | list[str]]:
    """What a detector finds in a picture's file: {boxes, labels, scores}, see `Picture`."""
    detections = detector.detect(decode_and_resize(encoded, detector.input_size).numpy())
    return {
        "boxes": detections.boxes,
        "labels": [labels[class_id] for class_id in detections.class_ids],
        "scores": detections.scores,
    }
