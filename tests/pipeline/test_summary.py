import io
import json

import pytest

from pipeline import summary as summary_module
from pipeline.config import PipelineConfig, override
from pipeline.metadata.run_record import ArtifactRecord, ComponentRecord
from pipeline.summary import print_summary, summarize

CONFIG = PipelineConfig(name="detector", preset="small_data_cpu")
DEVICE = {"blessed": True, "reasons": [], "latency": {"median_ms": 4.25}}
GATE = {
    "metrics": {"mAP50": 0.91, "mAP": 0.6, "AP/cat": 0.6, "AP50/cat": 0.91},
    "baseline_metrics": None,
    "thresholds": [{"metric": "mAP50", "passed": True}],
    "blessed": True,
    "text": ["mAP50 0.9100, at least 0.8000: passed"],
}
EXAMPLES = {
    "num_train": 80,
    "num_eval": 20,
    "num_negatives": 3,
    "num_set_aside": 2,
    "set_aside_reasons": {"unreadable image": 2},
    "num_ignored": 1,
    "num_clipped": 4,
    "leaked_images": 0,
    "data_fingerprint": "da7a",
}


def components(tmp_path, device=DEVICE, pushed=1, state="complete"):
    """The records of a run."""
    (tmp_path / "device").mkdir(exist_ok=True)
    (tmp_path / "device" / "device_check.json").write_text(json.dumps(device))
    serving = tmp_path / "m" / "Format-Serving"
    serving.mkdir(parents=True, exist_ok=True)
    (serving / "labels.txt").write_text("cat\n")
    (tmp_path / "schema").mkdir(exist_ok=True)
    (tmp_path / "schema" / "schema.pbtxt").write_text("the schema")
    outputs = {
        "ExampleGen": ("examples", "examples", EXAMPLES),
        "SchemaGen": ("schema", "schema", {}),
        "Trainer": ("model_run", "logs", {}),
        "TFLiteRewriter": ("shipping_model", "m", {"size_bytes": 1_234_567, "sha256": "5a"}),
        "Evaluator": ("evaluation", "evaluation", {}),
        "DeviceCheck": ("blessing", "device", {}),
        "Pusher": (
            "pushed_model",
            "p",
            {"pushed": pushed, "pushed_destination": "/pushed/3", "pushed_version": "3"},
        ),
    }
    return {
        name: ComponentRecord(
            name,
            index,
            state,
            12.5,
            {channel: [ArtifactRecord(index, "A", str(tmp_path / uri), properties)]},
            {},
        )
        for index, (name, (channel, uri, properties)) in enumerate(outputs.items(), start=1)
    }


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Sums up a run whose Evaluator found the given metrics."""

    def run(records=None, gate=GATE, error=None, config=CONFIG):
        monkeypatch.setattr(summary_module, "_evaluation", lambda artifact: artifact and gate)
        return summarize(
            components(tmp_path) if records is None else records,
            config=config,
            run_id="r1",
            run_folder=tmp_path / "runs" / "r1",
            workdir=tmp_path,
            metadata="m.sqlite",
            seconds=61.26,
            error=error,
        )

    return run


def printed(summary):
    file = io.StringIO()
    print_summary(summary, file)
    return file.getvalue()


def test_the_test_side_is_reported_apart(make, tmp_path, monkeypatch):
    assert make()["test"] is None
    assert "test:" not in printed(make())
    monkeypatch.setitem(EXAMPLES, "num_test", 12)
    records = components(tmp_path)
    assert "test: the 12 test images are scored when a file is pushed" in printed(make(records))
    [pushed] = records["Pusher"].outputs["pushed_model"]
    pushed.properties.update(test_images=12, test_mAP50=0.7, test_mAP=0.5)
    summary = make(records)
    assert summary["test"] == {"images": 12, "mAP50": 0.7, "mAP": 0.5}
    text = printed(summary)
    assert "test: mAP@.5 0.700, mAP@[.5:.95] 0.500 on the 12 test images" in text
    assert "80 to train on, 20 to evaluate on, 12 to test on" in text


def test_the_summary_of_a_pushed_run(make, tmp_path):
    summary = make()
    assert summary["status"] == "pushed"
    assert summary["blessed"] is True
    assert summary["reasons"] == []
    assert summary["metrics"] == {
        "mAP50": 0.91,
        "mAP": 0.6,
        "per_class": {"cat": {"AP": 0.6, "AP50": 0.91}},
    }
    assert (summary["size_bytes"], summary["latency_ms"]) == (1_234_567, 4.25)
    assert summary["pushed_path"] == "/pushed/3"
    assert summary["components"]["Trainer"] == {
        "status": "complete",
        "seconds": 12.5,
        "execution_id": 3,
    }
    assert summary["images"]["set_aside_reasons"] == {"unreadable image": 2}
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    inferred = tmp_path / "schema" / "detector" / "schema.pbtxt"
    assert summary["inferred_schema"] == str(inferred.parent)
    assert inferred.read_text() == "the schema"


def test_the_report_is_in_the_run_s_folder_or_on_vertex_ai_beside_the_pushed_model(make, tmp_path):
    assert make()["report"] == str(tmp_path / "runs" / "r1" / "report.html")

    def in_bucket(pushed):
        records = components(tmp_path, pushed=pushed)
        records["Pusher"].output("pushed_model").properties["pushed_destination"] = (
            "gs://b/pushed/3"
        )
        report = ArtifactRecord(9, "pipeline.RunReport", "gs://b/runs/Report/report/9", {})
        return records | {"Report": ComponentRecord("Report", 9, "complete", 1.0,
                                                    {"report": [report]}, {})}  # fmt: skip

    summary = make(in_bucket(1))
    assert summary["report"] == "gs://b/pushed/3/report.html"
    assert "https://storage.cloud.google.com/b/pushed/3/report.html" in printed(summary)
    assert make(in_bucket(0))["report"] == "gs://b/runs/Report/report/9/report.html"


def test_a_plan_comes_from_the_model(make, tmp_path):
    planned = override(CONFIG, {"training.minutes": 9})
    plan = {"minutes": 9.0, "steps": 400}
    serving = tmp_path / "trained" / "Format-Serving"
    serving.mkdir(parents=True)
    (serving / "detector.json").write_text(json.dumps({"facts": {"plan": plan}}))
    records = components(tmp_path)
    model = ArtifactRecord(9, "Model", str(tmp_path / "trained"), {})
    records["Trainer"].outputs["model"] = [model]
    assert make(records, config=planned)["plan"] == plan
    assert make(records)["plan"] is None
    assert make({}, config=planned)["plan"] is None


def test_the_printed_summary_has_all_that_a_newcomer_needs(make):
    text = printed(make())
    for part in (
        "80 to train on, 20 to evaluate on (3 of them without objects)",
        "2 skipped: 2 unreadable image",
        "mAP@.5 0.910, mAP@[.5:.95] 0.600 on the 20 evaluation images",
        "AP@.5 by class: cat 0.910",
        "1.23 MB, 4.2 ms an image",
        "gate: blessed",
        "mAP50 0.9100, at least 0.8000: passed",
        "compared with no earlier blessed model",
        "device check passed",
        "/pushed/3/detect.tflite",
        "-m pipeline.detect",
        "tensorboard --logdir",
        "make page && .venv/bin/python -m pipeline.app serve",
        "--schema",
        "pushed in 61 s",
    ):
        assert part in text, part
    assert "WARNING" not in text
    assert "NOTE" not in text


def test_classes_that_were_not_evaluated_are_named(make, tmp_path):
    records = components(tmp_path)
    (tmp_path / "m" / "Format-Serving" / "labels.txt").write_text("cat\ndog\nfrog\n")
    summary = make(records)
    assert summary["classes_not_evaluated"] == ["dog", "frog"]
    assert "WARNING: not evaluated, in no evaluation image: dog, frog" in printed(summary)


def test_a_cached_push_that_is_no_longer_the_latest_says_so(make, tmp_path):
    (tmp_path / "pushed" / "4").mkdir(parents=True)
    (tmp_path / "pushed" / "latest").symlink_to("4")
    summary = make()
    summary["pushed_path"] = str(tmp_path / "pushed" / "3")
    assert "latest is version 4, which was pushed later" in printed(summary)
    summary["pushed_path"], summary["pushed_version"] = str(tmp_path / "pushed" / "4"), "4"
    assert "NOTE" not in printed(summary)


def test_paths_in_commands_are_quoted(make):
    summary = make()
    summary["pushed_path"] = "/my models/3"
    assert "pipeline.detect '/my models/3' PICTURE" in printed(summary)


def test_a_curated_schema_is_not_published(make):
    config = CONFIG.model_copy(update={"schema_dir": "schema/demo"})
    assert make(config=config)["inferred_schema"] is None


def test_a_run_that_was_not_blessed_says_why(make, tmp_path):
    gate = {
        **GATE,
        "blessed": False,
        "thresholds": [{"metric": "mAP50", "passed": False}],
        "text": ["mAP50 0.5000, at least 0.8000: failed"],
        "baseline_metrics": {"mAP50": 0.7},
    }
    device = {**DEVICE, "blessed": False, "reasons": ["size: too large"]}
    summary = make(components(tmp_path, device, pushed=0), gate)
    assert summary["status"] == "not_blessed"
    assert summary["reasons"] == ["mAP50 0.5000, at least 0.8000: failed", "size: too large"]
    assert summary["pushed_path"] is None
    text = printed(summary)
    assert "not blessed: nothing was pushed" in text
    assert "last blessed model: mAP@.5 0.700 on the same images" in text
    assert "device check failed: size: too large" in text
    assert "detect.tflite" not in text


def test_a_model_that_was_not_good_enough_should_start_from_weights(make, tmp_path):
    missed = {**GATE, "blessed": False, "thresholds": [{"metric": "mAP50", "passed": False}]}

    def hint(gate=missed, **settings):
        summary = make(components(tmp_path, pushed=0), gate, config=override(CONFIG, settings))
        return "give --warm-start imagenet" in printed(summary)

    assert hint()
    assert not hint(GATE)
    assert not hint(**{"warm_start.weights": "imagenet"})
    assert not hint(preset="demo")


def test_metrics_without_a_value_are_null(make, tmp_path):
    """No labelled objects to evaluate on, and a file that does not run."""
    gate = {**GATE, "blessed": False, "metrics": {"AP/cat": 0.5}}
    gate["thresholds"] = [{"metric": "mAP50", "passed": False}]
    device = {"blessed": False, "reasons": ["outputs: garbage"], "latency": None}
    summary = make(components(tmp_path, device, pushed=0), gate)
    assert summary["metrics"]["mAP50"] is None
    assert summary["latency_ms"] is None
    assert "mAP@.5 not a number" in printed(summary)


def test_a_run_that_fails_early_still_has_a_summary(make):
    summary = make(records={}, error="Expected a folder. Received: none.")
    assert summary["status"] == "failed"
    assert summary["blessed"] is False
    assert summary["reasons"] == ["Expected a folder. Received: none."]
    assert summary["metrics"] is summary["images"] is summary["pushed_path"] is None


def test_outputs_of_failed_components_are_not_read(make, tmp_path):
    summary = make(components(tmp_path, state="failed"), error="it broke")
    assert summary["metrics"] is summary["images"] is summary["size_bytes"] is None


def test_cached_components_have_no_time(make, tmp_path):
    text = printed(make(components(tmp_path, state="cached")))
    assert "cached" in text
    assert "12.5" not in text
