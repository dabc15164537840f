"""One lane goes on where the other stopped: its store, its cache, its data and its model.

    python -m tests.across_lanes WORKDIR

The last run in WORKDIR is of the demo, by the other lane. This lane draws and reads the same data,
which must give the same examples, and trains on from the other's model; its questions must find out
all that. `.ci/modern` has each lane take over from the other once.
"""

import argparse
import contextlib
import io
import json
import shutil
from pathlib import Path

import local_runner
from pipeline.config import PipelineConfig
from pipeline.files import CONFIG_FILE, IMAGES_FILE
from pipeline.fingerprint import code_fingerprint, fingerprint_of
from pipeline.lane import TFX
from pipeline.lineage.__main__ import EXIT_NO_ANSWER
from pipeline.lineage.__main__ import main as lineage

# So short that only a model that began from a good one is good.
_SETTINGS = {
    "training.steps": 20,
    "training.quantization_delay": 10,
    "training.warmup_steps": 1,
    "training.learning_rate": 0.0005,
    "evaluation.min_map50": 0.9,
    "evaluation.max_drop": 1.0,
}
_SHARD = "data_tfrecord-00000-of-00001"
_EXAMPLES = [IMAGES_FILE, f"Split-train/{_SHARD}", f"Split-eval/{_SHARD}"]


def main() -> None:
    """Asks, goes on, and asks again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workdir", type=Path)
    workdir = parser.parse_args().workdir.resolve()
    latest = str(workdir / "pushed" / "latest")

    def ask(*question: str):
        with contextlib.redirect_stdout(io.StringIO()) as answer:
            code = lineage([*question, "--json", "--workdir", str(workdir)])
        assert code != EXIT_NO_ANSWER, question
        return json.loads(answer.getvalue())

    def here(uri: str) -> Path:
        """An artifact's folder, wherever the workdir was when it was written."""
        return workdir.joinpath("pipeline_root", *Path(uri).parts[-3:])

    theirs = ask("runs")[-1]
    before = ask("trace", latest)
    assert theirs["state"] == "pushed"
    assert version(before) != TFX, "the other lane has not run here last"
    made = before["trainings"][0]
    config = json.loads((workdir / "runs" / theirs["run"] / CONFIG_FILE).read_text())
    settings = fingerprint_of(PipelineConfig(**config).making())
    assert made["files"][0]["settings"]["provenance"]["settings"] == settings
    assert made["fingerprints"]["trainer_code"] == code_fingerprint("pipeline.training.trainer")
    examples, begun_from = here(made["data"][0]["uri"]), here(made["model"]["uri"])

    shutil.rmtree(workdir / "data")  # which makes ExampleGen run again
    flags = ["--workdir", str(workdir), "--warm-start", str(begun_from)]
    flags += ["--set", *(f"{name}={value}" for name, value in _SETTINGS.items())]
    assert local_runner.main(flags) == 0

    ours = ask("runs")[-1]
    after = ask("trace", latest)
    assert (ours["state"], ours["run"] != theirs["run"]) == ("pushed", True)
    assert version(after) == TFX
    assert ask("verify", latest)["shipped"]
    training, *earlier = after["trainings"]
    assert training["warm_start"]["artifact"] == made["model"]["artifact"]
    assert [old["execution"] for old in earlier] == [
        old["execution"] for old in before["trainings"]
    ]

    again = here(training["data"][0]["uri"])
    assert again != examples, "they came from the cache"
    for name in _EXAMPLES:
        assert (again / name).read_bytes() == (examples / name).read_bytes(), name
    changed = ask("diff", theirs["run"], ours["run"])
    assert changed["data"]["same"]
    assert (changed["schema"], changed["code"]) == ([], {})
    assert changed["environment"]["tfx"] == [version(before), TFX]
    image = json.loads((examples / IMAGES_FILE).read_text().splitlines()[0])
    touched = {model["model"]: model["how"] for model in ask("impact", image["sha256"])["models"]}
    for model in (made["model"], training["model"]):
        assert touched[model["artifact"]] == "trained"


def version(trace: dict) -> str:
    """Of the TFX that pushed the file."""
    return trace["subject"]["artifact"]["properties"]["tfx_version"]


if __name__ == "__main__":
    main()
