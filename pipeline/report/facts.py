"""All facts of a report, from the artifacts of a run: JSON, pictures included.

version     of this JSON, see `pipeline.report.page`
run_id      of the pipeline's run; empty if the orchestrator does not tell
verdict     pushed or not and why, the gate's and the device check's figures
quality     see `quality`
mistakes    {threshold, kinds: {kind: {words, count}}, pictures: worst first, hidden: how many more,
            outcomes: {image id: kinds of its mistakes}, baseline: the same of the last blessed
            model, None if there is none}
data        see `data_facts`; with `sample`, see `training_facts`
training    {curves, steps, quantization, quantized_from, agreement, step, score, float_score}
artifacts   [{channel, type, id, uri}]
fingerprints
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from tfx import types
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils

from models.labels import parse_labels
from models.settings import Augmentation
from models.training.checkpoint import NETWORK_FILE
from pipeline.data.raw_example import labelled_pictures
from pipeline.data.split import EVAL, TRAIN
from pipeline.files import (
    HASH_PROPERTY,
    LABELS_FILE,
    SHIPPING_FACTS_FILE,
    serving_path,
)
from pipeline.report.data_facts import data_facts, show_pairs
from pipeline.report.mistakes import count_kinds, sort_worst_first, take_apart
from pipeline.report.page import VERSION
from pipeline.report.pictures import Budget, open_picture, to_data_uri
from pipeline.report.quality import quality
from pipeline.report.training_facts import curves, training_sample
from pipeline.shipping.device_check import read_device_report
from pipeline.shipping.gate import read_evaluation
from pipeline.shipping.judged_pictures import (
    BASELINE,
    JudgedPicture,
    read_judged_pictures,
    read_thresholds,
)
from pipeline.shipping.score_threshold import ALL

_SIDE = 320
_MOST_PICTURES = 150
# Of the page's bytes: the sample and the pairs take about a tenth, markup and curves as much.
_SHARE_OF_MISTAKES, _SHARE_OF_PAIRS = 0.7, 0.08


def make_facts(
    inputs: Mapping[str, types.Artifact], settings: Mapping[str, Any], run_id: str
) -> dict[str, Any]:
    """Computes the facts.

    Args:
      inputs: artifacts by the channels of `pipeline.report.component.ReportSpec`.
      settings: sections of the configuration, see the component.
      run_id: of the pipeline's run; empty if the orchestrator does not tell.

    Returns:
      JSON; see the module.
    """
    budget = settings["report"]["max_mb"] * 1e6
    evaluation = inputs["evaluation"].uri
    pictures = read_judged_pictures(evaluation)
    thresholds = read_thresholds(evaluation)
    return {
        "version": VERSION,
        "run_id": run_id,
        "verdict": _verdict(inputs),
        "quality": quality(pictures, thresholds),
        "mistakes": _mistakes(
            pictures, thresholds[ALL], inputs["examples"], Budget(_SHARE_OF_MISTAKES * budget)
        ),
        "data": _data(inputs, settings, Budget(_SHARE_OF_PAIRS * budget)),
        "training": _training(inputs, settings),
        "artifacts": [
            {"channel": name, "type": each.type_name, "id": each.id, "uri": each.uri}
            for name, each in inputs.items()
        ],
        "fingerprints": {
            "data": inputs["examples"].get_string_custom_property("data_fingerprint"),
            "detect.tflite": inputs["shipping_model"].get_string_custom_property("sha256"),
            "detect.tflite with its labels": inputs["shipping_model"].get_string_custom_property(
                HASH_PROPERTY
            ),
        },
    }


def _verdict(inputs: Mapping[str, types.Artifact]) -> dict[str, Any]:
    pushed, evaluation = inputs["pushed_model"], read_evaluation(inputs["evaluation"].uri)
    device = read_device_report(inputs["infra_blessing"].uri)
    is_pushed = bool(pushed.get_int_custom_property("pushed"))
    conditions = [{**dataclasses.asdict(each), "text": str(each)} for each in evaluation.thresholds]
    return {
        "pushed": is_pushed,
        "version": pushed.get_string_custom_property("pushed_version") if is_pushed else None,
        "destination": (
            pushed.get_string_custom_property("pushed_destination") if is_pushed else None
        ),
        "blessed": evaluation.blessed,
        "conditions": conditions,
        "metrics": evaluation.metrics,
        "baseline_metrics": evaluation.baseline_metrics,
        "test": _test(pushed),
        "device": device,
    }


def _test(pushed: types.Artifact) -> dict[str, Any] | None:
    """The figures on the images that chose nothing; None unless a file was pushed and scored."""
    if not pushed.get_int_custom_property("test_images"):
        return None
    figures = {
        name: pushed.get_float_custom_property(f"test_{name}")
        if pushed.has_custom_property(f"test_{name}")
        else None
        for name in ("mAP50", "mAP")
    }
    return {"images": pushed.get_int_custom_property("test_images"), **figures}


def _mistakes(
    pictures: Sequence[JudgedPicture],
    best: Mapping[str, float] | None,
    examples: types.Artifact,
    budget: Budget,
) -> dict[str, Any]:
    threshold = best["threshold"] if best else None
    outcomes = {picture.source_id: take_apart(picture, threshold) for picture in pictures}
    rows = sort_worst_first(outcomes)
    by_id = {picture.source_id: picture for picture in pictures}
    shown, jpegs = [], _thumbnails(examples, {row["id"] for row in rows[:_MOST_PICTURES]})
    for row in rows[:_MOST_PICTURES]:
        jpeg = jpegs[row["id"]]
        if budget.spend(jpeg):
            picture = by_id[row["id"]]
            size = {"width": picture.width, "height": picture.height}
            shown.append({**row, **size, "jpeg": jpeg})
    found = {
        "threshold": threshold,
        "kinds": count_kinds(outcomes.values()),
        "pictures": shown,
        "hidden": len(rows) - len(shown),
        "outcomes": _kinds(outcomes),
        "baseline": None,
    }
    if pictures and BASELINE in pictures[0].found:
        earlier = {p.source_id: take_apart(p, threshold, BASELINE) for p in pictures}
        found["baseline"] = _kinds(earlier)
    return found


def _kinds(outcomes: Mapping[str, Any]) -> dict[str, list[str]]:
    return {
        image_id: sorted({each.kind for each in outcome.mistakes})
        for image_id, outcome in outcomes.items()
    }


def _thumbnails(examples: types.Artifact, wanted: set[str]) -> dict[str, str]:
    """JPEGs of evaluation pictures by image id."""
    found: dict[str, str] = {}
    for picture in labelled_pictures(examples, EVAL):
        if len(found) == len(wanted):
            break
        if picture.image_id in wanted:
            found[picture.image_id] = to_data_uri(open_picture(picture.encoded, _SIDE), _SIDE)
    return found


def _data(
    inputs: Mapping[str, types.Artifact], settings: Mapping[str, Any], budget: Budget
) -> dict[str, Any]:
    examples, shipping = inputs["examples"], inputs["shipping_model"].uri
    found = data_facts(examples, settings["report"]["max_images"])
    show_pairs(found["duplicates"], examples, settings["report"]["max_images"], budget)
    path = serving_path(shipping, LABELS_FILE)
    with fileio.open(path, "r") as file:
        names = parse_labels(file.read(), path)
    train = artifact_utils.get_split_uri([inputs["transformed_examples"]], TRAIN)
    sample = training_sample(
        [io_utils.all_files_pattern(train)],
        input_size=settings["model"]["input_size"],
        augmentation=Augmentation(**settings["augmentation"]),
        seed=settings["training"]["seed"],
        class_names=names,
    )
    return {**found, "sample": sample}


def _training(inputs: Mapping[str, types.Artifact], settings: Mapping[str, Any]) -> dict[str, Any]:
    shipping = _read_json(serving_path(inputs["shipping_model"].uri, SHIPPING_FACTS_FILE))
    network = _read_json(serving_path(inputs["model"].uri, NETWORK_FILE))
    steps = {**settings["training"], **(network["facts"]["plan"] or {})}
    is_aware = settings["quantization"] == "aware"
    return {
        "curves": curves(inputs["model_run"].uri),
        "steps": steps["steps"],
        "quantization": settings["quantization"],
        "quantized_from": steps["quantization_delay"] if is_aware else None,
        "agreement": shipping["agreement"],
        **shipping["training"],
    }


def _read_json(path: str) -> Any:
    with fileio.open(path, "r") as file:
        return json.loads(file.read())
