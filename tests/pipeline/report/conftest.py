"""Facts of small runs, computed from artifacts like those that a pipeline leaves."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.shipping.gate import Evaluation, Threshold
from pipeline.shipping.judged_pictures import DETECTIONS_PREFIX, DETECTIONS_SUFFIX, write_thresholds
from tests.pipeline.tiny_detector import picture, raw_example

CAT, DOG = (0.1, 0.1, 0.5, 0.5), (0.6, 0.6, 0.9, 0.9)
EMPTY = (0.7, 0.05, 0.9, 0.2)
HOSTILE = "<script>alert(1)</script>"
# name: objects (label, box, flags), detections (label, box, score)
PICTURES = {
    "right_0": ([("cat", CAT)], [("cat", CAT, 0.9)]),
    "right_1": ([("cat", CAT), ("dog", DOG)], [("cat", CAT, 0.8), ("dog", DOG, 0.8)]),
    "right_2": ([("dog", DOG)], [("dog", DOG, 0.85)]),
    "right_3": ([("dog", DOG)], [("dog", DOG, 0.75)]),
    "missed": ([("cat", CAT)], []),
    "wrong": ([("cat", CAT)], [("dog", CAT, 0.85)]),
    "unlabelled": ([("dog", DOG)], [("dog", DOG, 0.9), ("cat", EMPTY, 0.95)]),
    "negative": ([], []),
}
SETTINGS = {
    "model": {"input_size": 8},
    "augmentation": {},
    "training": {"seed": 0, "steps": 20, "quantization_delay": 10},
    "quantization": "aware",
    "report": {"max_mb": 4.5, "max_images": 100},
}


def renamed(pictures, **names):
    """The same pictures, with other names of classes."""

    def rename(rows):
        return [(names.get(label, label), *rest) for label, *rest in rows]

    return {name: tuple(map(rename, both)) for name, both in pictures.items()}


def _line(name, objects, detections):
    found = {
        "boxes": [box for _, box, _ in detections],
        "labels": [label for label, *_ in detections],
        "scores": [score for *_, score in detections],
    }
    truth = {
        "source_id": name, "width": 120, "height": 90,
        "boxes": [box for _, box, *_ in objects], "labels": [label for label, *_ in objects],
        "difficult": ["difficult" in flags for _, _, *flags in objects],
        "crowd": ["crowd" in flags for _, _, *flags in objects],
    }  # fmt: skip
    return json.dumps({"truth": truth, "found": {"candidate": found}})


def _write(folder: Path, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))


def _write_split(folder: Path, pictures):
    import tensorflow as tf

    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "data")) as writer:
        for number, (name, (objects, _)) in enumerate(pictures.items()):
            boxes, labels = [box for _, box, *_ in objects], [label for label, *_ in objects]
            writer.write(raw_example(name, picture(number), boxes, labels))


@pytest.fixture(scope="session")
def artifacts_of(tmp_path_factory):
    """Writes the artifacts of a run: by the channels of `ReportSpec`."""
    import tensorflow as tf
    from tfx.types import artifact_utils, standard_artifacts

    def write(pictures, pushed=True, train=None):
        root = tmp_path_factory.mktemp("run")
        train = {"trained": ([("cat", CAT)], [])} if train is None else train
        kinds = {
            "examples": standard_artifacts.Examples,
            "transformed_examples": standard_artifacts.Examples,
            "model": standard_artifacts.Model,
            "model_run": standard_artifacts.ModelRun,
            "shipping_model": standard_artifacts.Model,
            "evaluation": standard_artifacts.ModelEvaluation,
            "infra_blessing": standard_artifacts.InfraBlessing,
            "pushed_model": standard_artifacts.PushedModel,
        }
        inputs = {name: kind() for name, kind in kinds.items()}
        for number, (name, artifact) in enumerate(inputs.items(), start=1):
            artifact.uri, artifact.id = str(root / name), number
        for name in ("examples", "transformed_examples"):
            inputs[name].split_names = artifact_utils.encode_split_names(["train", "eval"])
        inputs["examples"].set_string_custom_property("data_fingerprint", "da7a")
        sides = {"train": train, "eval": pictures}
        for split, content in sides.items():
            _write_split(root / "examples" / f"Split-{split}", content)
        images = [
            {"id": name, "split": split,
             "classes": {label: [one for one, *_ in objects].count(label) for label, *_ in objects}}
            for split, content in sides.items() for name, (objects, _) in content.items()
        ]  # fmt: skip
        names = sorted({label for both in pictures.values() for label, *_ in both[0]} | {"cat"})
        training = {"step": 20, "score": 0.7, "float_score": 0.75, "resumed_at": []}
        agreement = {"compared_images": 8, "map50_of_network": 0.7, "map50_of_file": 0.69}
        device = {"blessed": True, "reasons": [], "size_bytes": 1_500_000, "sha256": "5a",
                  "latency": {"median_ms": 2.5}}  # fmt: skip
        lines = [_line(name, *both) for name, both in pictures.items()]
        _write(
            root,
            {
                "examples/images.jsonl": "".join(json.dumps(image) + "\n" for image in images),
                "examples/set_aside.jsonl": json.dumps(
                    {"file": f"{HOSTILE}.xml", "reason": "truncated", "kind": "x", "id": ""}
                )
                + "\n",
                "examples/ignored.jsonl": "",
                "model/Format-Serving/detector.json": {"facts": {"plan": None}},
                "shipping_model/Format-Serving/detector.json": {
                    "training": training, "agreement": agreement,
                },
                "shipping_model/Format-Serving/labels.txt": "".join(f"{n}\n" for n in names),
                f"evaluation/{DETECTIONS_PREFIX}{DETECTIONS_SUFFIX}": "\n".join(lines) + "\n",
                "infra_blessing/device_check.json": device,
            },
        )  # fmt: skip
        write_thresholds(str(root / "evaluation"))
        with tf.summary.create_file_writer(str(root / "model_run")).as_default():
            for step in (10, 20):
                tf.summary.scalar("train/loss", 1 / step, step)
                tf.summary.scalar("eval/mAP50", step / 30, step)
        pushed_model = inputs["pushed_model"]
        pushed_model.set_int_custom_property("pushed", int(pushed))
        if pushed:
            pushed_model.set_string_custom_property("pushed_version", "3")
            pushed_model.set_string_custom_property("pushed_destination", str(root / "3"))
        return inputs

    return write


def sample(*args, **kwargs):
    """In place of Transform's examples, which only Transform can write."""
    from pipeline.report.pictures import to_data_uri

    jpeg = to_data_uri(np.full((8, 8, 3), 90, np.uint8), 8)
    return [{"jpeg": jpeg, "boxes": [{"label": "cat", "box": list(CAT)}]}]


def evaluate(uri, bound=0.5):
    """In place of TFMA's files: the figures of the detections that are kept there."""
    from pipeline.shipping.coco_metric import Picture
    from pipeline.shipping.judged_pictures import CANDIDATE, read_judged_pictures
    from tests.pipeline.shipping.test_coco_metric import score_pictures

    scored = [
        Picture(p.source_id, p.boxes, p.labels, *p.found[CANDIDATE], p.difficult, p.crowd)
        for p in read_judged_pictures(uri)
    ]
    found = score_pictures(scored, None)
    metrics = {name: value for name, value in found.items() if np.isfinite(value)}
    value = metrics.get("mAP50")
    passed = value is not None and value >= bound
    return Evaluation(
        metrics, None, (Threshold("mAP50", "value", value, bound, passed),), blessed=passed
    )


@pytest.fixture(scope="session")
def facts_of(artifacts_of):
    """Computes the facts of a run that evaluated these pictures."""
    from pipeline.report import facts

    def compute(pictures, bound=0.5, inputs=None, **settings):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(facts, "read_evaluation", lambda uri: evaluate(uri, bound))
            patch.setattr(facts, "training_sample", sample)
            if inputs is None:
                inputs = artifacts_of(pictures)
                if not evaluate(inputs["evaluation"].uri, bound).blessed:
                    inputs["pushed_model"].set_int_custom_property("pushed", 0)
            report = {**SETTINGS["report"], **settings}
            return facts.make_facts(inputs, {**SETTINGS, "report": report}, "run 1")

    return compute


@pytest.fixture(scope="session")
def usual(facts_of):
    """Facts of `PICTURES`."""
    return facts_of(PICTURES)
