"""What a detector's file says of itself, in the words of TFLite metadata, and whether it is right.

With it, MediaPipe Tasks opens the file as it is: it finds the outputs by these names, and the
labels inside. Names, groups and content are those of MediaPipe's own metadata writer; but that one
takes the outputs for sorted by their tensors' indices, and ours are not.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from models.labels import format_labels
from models.networks.boxes import BOX_SCALES
from models.settings import PostProcessing
from models.tflite.raw import ANCHORS_FILE, ENCODINGS, POST_PROCESSING_FILE, SCORES
from models.tflite_metadata import (
    AXIS_LABELS,
    BOUNDING_BOX,
    DESCRIPTIONS,
    DETECTOR_METADATA_NAME,
    FEATURE,
    IMAGE,
    METADATA_NAME,
    MODEL_IDENTIFIER,
    NORMALIZATION,
    SCORE_THRESHOLD,
    VALUE_LABELS,
    AlignedBuilder,
    Metadata,
    pack_detector,
    pack_files,
    pack_metadata,
    read_metadata,
)

LABELS_NAME, PROVENANCE_NAME = "labels.txt", "provenance.json"
# A pixel v means (v - 127.5) / 127.5.
PIXEL_MEAN = PIXEL_STD = 127.5
# The first version of MediaPipe's reader that knows all fields in use: groups of tensors.
_MIN_PARSER = "1.2.0"
_MIN_RAW_PARSER, _MIN_DETECTOR_PARSER = "1.5.0", "1.0.0"  # custom metadata
_RGB, _BOUNDARIES, _RATIO = 1, 1, 0
_PER_BOX = {"min": 2, "max": 2}  # dimensions: one value a box
# Of the signature's outputs, in the order in which MediaPipe numbers them when it knows no names.
_OUTPUTS = {
    "detection_boxes": {
        "name": "location",
        "description": "Boxes (ymin, xmin, ymax, xmax) in fractions of the picture.",
        "content": {
            "properties": (
                BOUNDING_BOX,
                # Where left, top, right and bottom are.
                {"index": [1, 0, 3, 2], "type": _BOUNDARIES, "coordinate_type": _RATIO},
            ),
            "range": _PER_BOX,
        },
    },
    "detection_classes": {
        "name": "category",
        "description": f"Class indices; index 0 is line 1 of {LABELS_NAME}.",
        "content": {"properties": (FEATURE, {}), "range": _PER_BOX},
        "associated_files": [
            {"name": LABELS_NAME, "description": "The classes.", "type": VALUE_LABELS}
        ],
    },
    "detection_scores": {
        "name": "score",
        "description": "Scores from 0 to 1, the best first.",
        "content": {"properties": (FEATURE, {}), "range": _PER_BOX},
    },
    "num_detections": {
        "name": "number of detections",
        "description": "How many entries of the other outputs are valid.",
        "content": {"properties": (FEATURE, {})},
    },
}
# Of a raw file: MediaPipe knows them by these names, too.
_RAW_OUTPUTS = {
    ENCODINGS: {
        "name": "location",
        "description": "Boxes relative to their anchors: (ty, tx, th, tw), scaled.",
        "content": {
            "properties": (
                BOUNDING_BOX,
                {"index": [1, 0, 3, 2], "type": _BOUNDARIES, "coordinate_type": _RATIO},
            ),
        },
    },
    SCORES: {
        "name": "score",
        "description": f"Scores of each class from 0 to 1; class 0 is line 1 of {LABELS_NAME}.",
        "content": {"properties": (FEATURE, {})},
        "associated_files": [
            {"name": LABELS_NAME, "description": "The classes.", "type": AXIS_LABELS}
        ],
    },
}
_GROUP = {"name": "detection_result", "tensor_names": ["location", "category", "score"]}


def describe_detector(
    content: bytes,
    labels: Sequence[str],
    name: str,
    description: str,
    version: str,
    provenance: Mapping[str, Any],
    score_threshold: float | None,
    raw: tuple[np.ndarray, PostProcessing] | None = None,
) -> bytes:
    """Adds metadata to a detector's file; the network in it stays as it is.

    Args:
      content: from `models.tflite.export.export_tflite`.
      labels: class names by index.
      name: of the model.
      description: in a sentence.
      version: tells this file from others.
      provenance: what made the file, JSON; becomes `PROVENANCE_NAME` in it.
      score_threshold: from which score on an app should show a detection, where it does not say;
        None leaves that to the app.
      raw: of a raw file, the anchors, float32 [N, 4], and the settings of the post-processing that
        is left to the app; None for a file that has it inside.

    Returns:
      The file with metadata: the same for the same arguments.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    outputs = []
    for key in _output_names(model):
        output = dict((_OUTPUTS | _RAW_OUTPUTS)[key])
        if output["name"] == "score" and score_threshold is not None:
            threshold = {"threshold": score_threshold}
            output["process_units"] = [{"options": (SCORE_THRESHOLD, threshold)}]
        outputs.append(output)
    about = {"inputs": [_image(model)], "outputs": outputs}
    files = {
        LABELS_NAME: format_labels(labels).encode(),
        PROVENANCE_NAME: json.dumps(provenance, indent=2, sort_keys=True, allow_nan=False).encode(),
    }
    told = {PROVENANCE_NAME: "What made this file."}
    if raw is None:
        about["output_groups"] = [_GROUP]
    else:
        anchors, settings = raw
        options = pack_detector(_detector_options(anchors, len(labels)))
        about["custom_metadata"] = [{"name": DETECTOR_METADATA_NAME, "data": options}]
        files[ANCHORS_FILE] = anchors.astype("<f4").tobytes()
        files[POST_PROCESSING_FILE] = settings.model_dump_json().encode()
        told[ANCHORS_FILE] = "float32 [N, 4]: (ycenter, xcenter, height, width)."
        told[POST_PROCESSING_FILE] = "Settings of the suppression."
    metadata = {
        "name": name,
        "description": description,
        "version": version,
        "subgraphs": [about],
        "associated_files": [
            {"name": file, "description": text, "type": DESCRIPTIONS} for file, text in told.items()
        ],
        "min_parser_version": _MIN_PARSER if raw is None else _MIN_RAW_PARSER,
    }
    return _attach(model, metadata) + pack_files(files)


def _detector_options(anchors: np.ndarray, num_classes: int) -> dict[str, Any]:
    y_scale, x_scale, h_scale, w_scale = BOX_SCALES
    return {
        "min_parser_version": _MIN_DETECTOR_PARSER,
        "anchors": {
            "fixed": {
                "anchors": [
                    {"y_center": y, "x_center": x, "height": h, "width": w}
                    for y, x, h, w in anchors.tolist()
                ]
            }
        },
        "decoding": {
            "num_classes": num_classes,
            "num_boxes": len(anchors),
            "num_coords": 4,
            "num_values_per_keypoint": 2,  # of none, but MediaPipe insists
            "x_scale": x_scale,
            "y_scale": y_scale,
            "w_scale": w_scale,
            "h_scale": h_scale,
            "apply_exponential_on_box_size": True,
            "sigmoid_score": False,  # the file's scores are sigmoids already
        },
    }


def _image(model: schema.ModelT) -> dict[str, Any]:
    graph = model.subgraphs[0]
    tensor = graph.tensors[graph.inputs[0]]
    _, height, width, _ = tensor.shape
    is_float = tensor.type == schema.TensorType.FLOAT32
    low, high = (-1.0, 1.0) if is_float else (0.0, 255.0)
    return {
        "name": "image",
        "description": f"An RGB picture of {width} x {height} pixels.",
        "content": {
            "properties": (
                IMAGE,
                {
                    "color_space": _RGB,
                    "default_size": {"width": int(width), "height": int(height)},
                },
            )
        },
        "process_units": [{"options": (NORMALIZATION, {"mean": [PIXEL_MEAN], "std": [PIXEL_STD]})}],
        "stats": {"max": [high], "min": [low]},
    }


def _output_names(model: schema.ModelT) -> list[str]:
    """The signature's names of the graph's outputs, in the graph's order."""
    named = {output.tensorIndex: output.name.decode() for output in model.signatureDefs[0].outputs}
    return [named[index] for index in model.subgraphs[0].outputs]


def _attach(model: schema.ModelT, metadata: Mapping[str, Any]) -> bytes:
    packed = np.frombuffer(pack_metadata(metadata), np.uint8)
    model.metadata = model.metadata or []
    earlier = [entry for entry in model.metadata if entry.name == METADATA_NAME.encode()]
    if earlier:
        model.buffers[earlier[0].buffer].data = packed
    else:
        model.metadata.append(schema.MetadataT(METADATA_NAME, len(model.buffers)))
        model.buffers.append(schema.BufferT(packed))
    builder = AlignedBuilder(len(packed))
    builder.Finish(model.Pack(builder), MODEL_IDENTIFIER)
    return bytes(builder.Output())


def problem_with_description(content: bytes, labels_text: str) -> str | None:
    """What MediaPipe would not accept of a file, or would show wrongly; None if all is well.

    Args:
      content: of a detector's file.
      labels_text: of the label file beside it.
    """
    try:
        found = read_metadata(content, "the file")
    except ValueError as error:
        return str(error)
    if found is None:
        return "Expected TFLite metadata in the file. Received: none."
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    expected = [(_OUTPUTS | _RAW_OUTPUTS)[key]["name"] for key in _output_names(model)]
    return next(_problems(found, expected, labels_text), None)


def _problems(found: Metadata, names: Sequence[str], labels_text: str):
    graph = found.graph
    if len(found.model.get("subgraphs", ())) != 1:
        yield "Expected metadata of one graph. Received: of another number."
    inputs = graph.get("inputs", [])
    if len(inputs) != found.num_inputs:
        yield f"Expected metadata of {found.num_inputs} inputs. Received: of {len(inputs)}."
    received = [output.get("name") for output in graph.get("outputs", [])]
    if received != list(names):
        yield f"Expected the outputs {list(names)} in the metadata. Received: {received}."
    for image in inputs:
        units = [unit["options"] for unit in image.get("process_units", ()) if "options" in unit]
        expected = (NORMALIZATION, {"mean": [PIXEL_MEAN], "std": [PIXEL_STD]})
        if expected not in units:
            yield f"Expected the normalization {expected[1]} in the metadata. Received: {units}."
    if not found.model.get("min_parser_version"):
        yield "Expected the version of the reader in the metadata. Received: none."
    listed = [
        file.get("name")
        for output in graph.get("outputs", [])
        for file in output.get("associated_files", ())
        if file.get("type") in (AXIS_LABELS, VALUE_LABELS)
    ]
    if listed != [LABELS_NAME]:
        yield f"Expected {LABELS_NAME} as the labels in the metadata. Received: {listed}."
    elif found.files[LABELS_NAME] != labels_text.encode():
        yield f"Expected the labels in the file to be those of {LABELS_NAME}. Received: others."
    if PROVENANCE_NAME not in found.files:
        yield f"Expected {PROVENANCE_NAME} in the file. Received: {[*found.files]}."
