"""TFLiteRewriter: turns the trained network into the .tflite that ships, and checks the file."""

import functools
import hashlib
import json
import logging
import os
import tempfile
from typing import Any

import numpy as np
import tfx.v1 as tfx
from tfx.types import standard_artifacts

from models.image import decode_and_resize
from models.labels import format_labels
from models.networks.families import normalize
from models.settings import PostProcessing
from models.tflite.description import describe_detector
from models.tflite.export import export_tflite, without_rounding
from models.tflite.raw import RawDetector, without_post_processing
from models.training import checkpoint
from pipeline.data.raw_example import labelled_pictures
from pipeline.files import (
    FLOAT16_MODEL_FILE,
    FORMS,
    HASH_PROPERTY,
    LABELS_FILE,
    PUSHED_MODEL_FILE,
    RAW_MODEL_FILE,
    SERVING_FOLDER,
    SHIPPING_FACTS_FILE,
    SHIPPING_MODEL_FILE,
    hash_together,
    serving_path,
    write_whole,
)
from pipeline.settings import RewriterSettings
from pipeline.shipping.comparison import Picture, compare_with_network, refuse_broken_file

# Pictures of the training split that set the ranges in post-training quantization.
_NUM_REPRESENTATIVE = 100
_NAMED_CLASSES = 10
# Of each fingerprint in the version of the metadata.
_VERSION_DIGITS = 8

_log = logging.getLogger("detector")


@tfx.dsl.components.component
def TFLiteRewriter(
    model: tfx.dsl.components.InputArtifact[standard_artifacts.Model],
    examples: tfx.dsl.components.InputArtifact[standard_artifacts.Examples],
    shipping_model: tfx.dsl.components.OutputArtifact[standard_artifacts.Model],
    quantization: tfx.dsl.components.Parameter[str],
    post_processing: tfx.dsl.components.Parameter[str],
    comparison: tfx.dsl.components.Parameter[str],
    provenance: tfx.dsl.components.Parameter[str],
    code_fingerprint: tfx.dsl.components.Parameter[str],
) -> None:
    """Exports, reloads, compares, and only then writes.

    Args:
      model: the Trainer's.
      examples: raw examples; the eval split is compared on, the train split may set ranges.
      shipping_model: gets the files of a shipping model, see `pipeline.files`, and the custom
        properties `sha256`, those of `FORMS`, `files_sha256` (of all), `size_bytes`,
        `quantization`, and the figures of the comparison, see
        `pipeline.shipping.comparison.Comparison.properties`.
      quantization: "aware", "post_training" or "none".
      post_processing: JSON of `models.settings.PostProcessing`.
      comparison: JSON of `pipeline.settings.RewriterSettings`.
      provenance: JSON of the name of the model, and of the fingerprints of the code and the
        settings that make its file.
      code_fingerprint: part of the cache key.

    Raises:
      UserError: when the file does not find what the network finds.
    """
    del code_fingerprint
    settings = PostProcessing(**json.loads(post_processing))
    limits = RewriterSettings(**json.loads(comparison))
    network, config, facts = checkpoint.load_detector(os.path.join(model.uri, SERVING_FOLDER))
    size, class_names = config.input_size, facts["class_names"]
    representative = None
    if quantization == "post_training":
        representative = [
            np.asarray(normalize(decode_and_resize(picture.encoded, size)))
            for picture in labelled_pictures(examples, "train", _NUM_REPRESENTATIVE)
        ]
    with tempfile.TemporaryDirectory() as work_dir:
        content = export_tflite(
            network,
            config,
            settings,
            work_dir,
            quantize=quantization != "none",
            representative_images=representative,
        )

    pictures = (
        Picture(
            decode_and_resize(picture.encoded, size).numpy(),
            picture.boxes,
            np.array([class_names.index(label) for label in picture.labels], np.int64),
            picture.difficult,
            picture.crowd,
        )
        for picture in labelled_pictures(examples, "eval", limits.num_images)
    )
    raw = {RAW_MODEL_FILE: without_post_processing(content)}
    if limits.float16:
        with tempfile.TemporaryDirectory() as work_dir:
            float16 = export_tflite(
                without_rounding(network), config, settings, work_dir, quantize=False, float16=True
            )
        raw[FLOAT16_MODEL_FILE] = without_post_processing(float16)
    forms = {name: RawDetector(form, config.anchors, settings) for name, form in raw.items()}
    found = compare_with_network(network, config, settings, content, pictures, forms)
    _log.info("TFLiteRewriter: %s", found)
    refuse_broken_file(found, limits)
    describe = functools.partial(
        describe_detector,
        labels=class_names,
        **_description(class_names, config, found, facts, examples, provenance),
    )
    content = describe(content)
    raw = {name: describe(form, raw=(config.anchors, settings)) for name, form in raw.items()}

    description = {
        "input_size": size,
        "quantization": quantization,
        "post_processing": settings.model_dump(),
        "network": config.model_dump(),
        "training": {key: facts[key] for key in ("step", "score", "float_score", "resumed_at")},
        "agreement": found.properties(),
    }
    files = {
        LABELS_FILE: format_labels(class_names).encode(),
        SHIPPING_FACTS_FILE: json.dumps(description, indent=2, sort_keys=True).encode(),
        SHIPPING_MODEL_FILE: content,
        **raw,
    }
    for name, data in files.items():
        write_whole(serving_path(shipping_model.uri, name), data)
    shipping_model.set_string_custom_property("sha256", hashlib.sha256(content).hexdigest())
    for name, form in raw.items():
        shipping_model.set_string_custom_property(FORMS[name], hashlib.sha256(form).hexdigest())
    judged = {PUSHED_MODEL_FILE: content, LABELS_FILE: files[LABELS_FILE], **raw}
    shipping_model.set_string_custom_property(HASH_PROPERTY, hash_together(judged))
    shipping_model.set_int_custom_property("size_bytes", len(content))
    shipping_model.set_string_custom_property("quantization", quantization)
    for name, value in found.properties().items():
        if isinstance(value, int):
            shipping_model.set_int_custom_property(name, value)
        else:
            shipping_model.set_float_custom_property(name, value)


def _description(class_names, config, found, facts, examples, provenance) -> dict[str, Any]:
    """What the files say of themselves: the same for the same data, code, settings and seed.

    So nothing in it tells one run from another that repeats it, or names the place of the data: the
    manifest names the run.
    """
    made_from = json.loads(provenance)
    fingerprints = {
        "data": examples.get_string_custom_property("data_fingerprint"),
        "code": made_from["code"],
        "settings": made_from["settings"],
    }
    figures = found.properties()
    told = {
        "fingerprints": fingerprints,
        "training_step": facts["step"],
        # The Evaluator judges the file with these figures in it, so they can't be its own.
        "comparison": {
            name: figures.get(key)
            for name, key in (
                ("mAP50", "map50_of_file"),
                ("mAP", "map_of_file"),
                ("pictures", "compared_images"),
            )
        },
        "score_threshold": figures.get("score_threshold"),
    }
    classes = ", ".join(class_names[:_NAMED_CLASSES])
    others = len(class_names) - _NAMED_CLASSES
    what = f"{classes}{f' and {others} more' if others > 0 else ''}"
    return {
        "name": f"Detector: {what}",
        "description": f"Finds {what} in pictures of {config.input_size} x {config.input_size} "
        f"pixels ({config.family}).",
        "version": "-".join(value[:_VERSION_DIGITS] for value in fingerprints.values()),
        "provenance": told,
        "score_threshold": told["score_threshold"],
    }
