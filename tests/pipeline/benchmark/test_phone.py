"""adb's arguments, with a program in its place."""

import json
import sys
from pathlib import Path

import pytest

from pipeline.benchmark.phone import PhoneError, find_phone, measure

OUTPUT = """INFO: STARTING!
INFO: count=5 first=9999 curr=9 min=9 max=9999 avg=9999 std=1
INFO: count=337 first=2881 curr=2703 min=2605 max=20356 avg=2942.27 std=1190 p5=2647 median=2781 \
p95=3169
INFO: Inference timings in us: Init: 6395, First inference: 2761, Warmup (avg): 3, Inference (avg):\
 2942.27
INFO: Memory footprint delta from the start of the tool (MB): init=39.4531 overall=40.8281
"""
OLD_OUTPUT = "count=50 first=266601 curr=266931 min=265837 max=268116 avg=2.66473e+05 std=419\n"

ADB = """#!{python}
import json, sys
words = sys.argv[1:]
with open("{log}", "a") as log:
    log.write(json.dumps(words) + "\\n")
answers = json.load(open("{answers}"))
for start, answer in answers.items():
    if " ".join(words).startswith(start):
        print(answer)
        sys.exit("FAILED" in answer)
"""


class Adb:
    """An adb that answers what it was told to, and logs what it was asked."""

    def __init__(self, folder: Path):
        self._log, self._answers = folder / "log", folder / "answers"
        program = folder / "adb"
        text = ADB.format(python=sys.executable, log=self._log, answers=self._answers)
        program.write_text(text)
        program.chmod(0o755)
        self.answers = {
            "devices": "List of devices attached\nR58M\tdevice\n",
            "-s R58M shell ls": "benchmark_model\nother",
            "-s R58M shell getprop": "Pixel 2",
            "-s R58M shell /data/local/tmp/benchmark_model": OUTPUT,
        }
        self.answer()

    def answer(self, **changes):
        """Changes answers by the last word of the question."""
        for start in self.answers:
            key = start.split("/")[-1].split()[-1]
            self.answers[start] = changes.get(key, self.answers[start])
        self._answers.write_text(json.dumps(self.answers))

    @property
    def asked(self) -> list[list[str]]:
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [json.loads(line) for line in lines]


@pytest.fixture
def adb(tmp_path, monkeypatch) -> Adb:
    folder = tmp_path / "bin"
    folder.mkdir()
    found = Adb(folder)
    monkeypatch.setenv("PATH", str(folder))
    return found


def test_benchmark_model_gets_the_file_and_its_arguments(adb, tmp_path):
    phone = find_phone()
    assert phone.name == "Pixel 2"
    model = tmp_path / "my.tflite"
    fast, slow = measure(phone, model, [(True, 1), (False, 2)], runs=30)
    assert fast == {
        "xnnpack": True, "threads": 1,
        "mean_ms": 2.942, "median_ms": 2.781, "p95_ms": 3.169, "memory_mb": 40.8281,
    }  # fmt: skip
    assert (slow["xnnpack"], slow["threads"]) == (False, 2)
    on_phone = "/data/local/tmp/detector_benchmark.tflite"
    push, first, second, remove = adb.asked[3:]
    assert push == ["-s", "R58M", "push", str(model), on_phone]
    common = ["-s", "R58M", "shell", "/data/local/tmp/benchmark_model", f"--graph={on_phone}"]
    runs = ["--num_runs=30", "--warmup_runs=5"]
    assert first == [*common, "--num_threads=1", "--use_xnnpack=true", *runs]
    assert second == [*common, "--num_threads=2", "--use_xnnpack=false", *runs]
    assert remove == ["-s", "R58M", "shell", "rm", "-f", on_phone]


def test_an_older_program_tells_the_mean(adb, tmp_path):
    adb.answer(benchmark_model=OLD_OUTPUT)
    [found] = measure(find_phone(), tmp_path / "my.tflite", [(True, 1)], runs=30)
    assert found["mean_ms"] == 266.473
    assert found["median_ms"] is found["p95_ms"] is found["memory_mb"] is None


def test_without_adb_or_a_phone_there_is_none(adb, monkeypatch):
    adb.answer(devices="List of devices attached\n")
    assert find_phone() is None
    monkeypatch.setenv("PATH", "")
    assert find_phone() is None


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"devices": "List\nA\tdevice\nB\tdevice\n"}, "Expected one phone. Received: A, B."),
        ({"devices": "List\nR58M\tunauthorized\n"}, "R58M, which is unauthorized. Unlock it"),
        ({"ls": "other"}, "Expected TensorFlow's benchmark_model in /data/local/tmp"),
        ({"ls": "FAILED: device offline"}, "shell ls /data/local/tmp failed: FAILED: device off"),
    ],
)
def test_a_phone_that_cannot_be_used_is_one_sentence(adb, answer, message):
    adb.answer(**answer)
    with pytest.raises(PhoneError, match=message.replace(".", r"\.")):
        find_phone()


@pytest.mark.parametrize("said", ["FAILED: Segmentation fault", "no times here"])
def test_a_file_that_fails_on_the_phone_is_removed_from_it(adb, tmp_path, said):
    adb.answer(benchmark_model=said)
    with pytest.raises(PhoneError, match=said):
        measure(find_phone(), tmp_path / "my.tflite", [(True, 1)], runs=30)
    assert adb.asked[-1][3] == "rm"
