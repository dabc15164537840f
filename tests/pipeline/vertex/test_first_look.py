"""Without --preset, the data and the weights of a bucket decide what a job is compiled with."""

import hashlib
import json
import re
import shlex

import pytest

import vertex_runner
from pipeline.errors import UserError
from pipeline.vertex.connection import check_readable
from tests.models.helpers import TINY
from tests.pipeline.data_samples import Sample, picture, samples, write_voc
from tests.pipeline.vertex.test_command_line import PIPELINE, PROJECT, examined  # noqa: F401

BUCKET = PIPELINE[4:-4]
FOUND = "found: Pascal VOC, 1 class, 12 images, split by a hash of the image ids\n"
LOOKED = ["found: Pascal VOC", "found: no", "chosen: --preset", "chosen: --set"]


@pytest.fixture(autouse=True)
def in_the_cloud(cloud, monkeypatch, tmp_path):
    """TensorFlow's client, too, sees the fake cloud at Google's addresses."""
    for name, value in cloud.open_proxy(tmp_path).environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(cloud, capsys):
    """Runs a command on data of a bucket; returns the exit code, output and errors."""

    def type_(command, data, *arguments):
        endpoint = ["--set", f"vertex.api_endpoint={cloud.url}"]
        words = [command, "--data", data, *BUCKET, *PROJECT, *endpoint, *arguments]
        code = vertex_runner.main(words)
        return code, *capsys.readouterr()

    return type_


@pytest.fixture
def cells(cloud, tmp_path, request):
    """A data set of tiny objects in the bucket, of each test another: clients remember files."""
    name = f"cells-{len(request.node.name)}"
    cell = ("cell", 5, 5, 6, 6)
    write_voc(tmp_path / name, [Sample(f"i_{n}", picture(n), (cell,)) for n in range(12)])
    upload(cloud, tmp_path, name)
    return f"gs://my-bucket/{name}"


def upload(cloud, root, folder):
    for path in (root / folder).rglob("*.*"):
        name = path.relative_to(root).as_posix()
        cloud.objects["my-bucket", name] = (path.read_bytes(), 1)


def starts(text: str) -> list[str]:
    """The lines about what was found and chosen, cut to their beginnings."""
    lines = [line for line in text.splitlines() if re.match("found|chosen|not looked", line)]
    return [re.match(r"\S+ \S+( VOC)?", line)[0] for line in lines]


def test_what_is_found_in_the_bucket_is_in_the_job_and_can_be_given(run, cells, tmp_path):
    code, out, error = run("compile", cells)
    assert code == 0, error
    assert starts(out) == LOOKED
    assert FOUND in out
    assert "small_objects_cpu (family ssd_fpn: 100% of 12 objects in 12 images are" in out
    assert "(by the weights, the images and tpu-v5e-8; half of the objects are" in out
    job = (tmp_path / "pipeline.json").read_text()
    assert json.dumps(448) in job

    preset, settings = (
        line[8:].rpartition(" (")[0] for line in out.splitlines() if "chosen" in line
    )
    flags = shlex.split(f"{preset.partition(' (')[0]} {settings.partition(' (')[0]}")
    code, out, error = run("compile", cells, "--output", "again.json", *flags)
    assert code == 0, error
    assert starts(out) == ["found: no"]
    assert (tmp_path / "again.json").read_text() == job


def test_submit_takes_what_suits_and_keeps_what_is_given(run, cells, cloud):
    given = ["--minutes", "20", "--set", "model.input_size=256", "vertex.accelerator=tpu-v5e-8"]
    code, out, error = run("submit", cells, *given)
    assert code == 0, error
    assert starts(out) == LOOKED
    assert "chosen: --set training.batch_size=16 (by" in out
    (job,) = cloud.jobs.values()
    assert '\\"input_size\\": 256' in json.dumps(job)


def test_the_weights_of_the_bucket_decide_the_network(run, cells, cloud):
    for name, content in (
        ("detector.json", {"config": TINY.model_dump(), "quantized": False, "facts": {}}),
        ("weights.npz", {}),
    ):
        cloud.objects["my-bucket", f"earlier/{name}"] = (json.dumps(content).encode(), 1)
    code, out, error = run("compile", cells, "--warm-start", "gs://my-bucket/earlier")
    assert code == 0, error
    assert "no --warm-start" not in out
    assert f"model.depth_multiplier={TINY.depth_multiplier}" in out
    code, out, _ = run("compile", cells, "--warm-start", "gs://my-bucket/lost.tflite")
    assert code == 0
    assert FOUND in out
    assert "not looked at, so chosen without it (--preset and --set choose otherwise): " in out
    assert "gs://my-bucket/lost.tflite" in out
    code, _, error = run("submit", cells, "--warm-start", "gs://my-bucket/lost.tflite")
    assert code == 1
    assert error.count("\n") == 1
    assert not cloud.jobs


def test_submit_checks_the_weights_and_records_their_content(run, cells, cloud):
    """Also with --preset, where nothing is chosen by them."""
    description = {"config": TINY.model_dump(), "quantized": False, "facts": {}}
    content = {"detector.json": json.dumps(description).encode(), "weights.npz": b"weights"}
    for name, data in content.items():
        cloud.objects["my-bucket", f"earlier/{name}"] = (data, 1)
    sha256 = hashlib.sha256(b"".join(content.values())).hexdigest()
    for preset in ([], ["--preset", "small_data_cpu"]):
        start = [*preset, "--warm-start", "gs://my-bucket/earlier"]
        code, _, error = run("submit", cells, *start)
        assert code == 0, error
        assert sha256 in json.dumps(list(cloud.jobs.values())[-1])
        code, _, error = run("submit", cells, *start, "--set", "warm_start.class_heads=fresh")
        assert code == 1
        assert "warm_start.class_heads has no effect on a start from an earlier" in error
    cloud.objects["my-bucket", "damaged.tflite"] = (b"TFL3" * 30, 1)
    start = ["--preset", "small_data_cpu", "--warm-start", "gs://my-bucket/damaged.tflite"]
    code, _, error = run("submit", cells, *start)
    assert (code, error.count("\n")) == (1, 1)
    assert "Received: gs://my-bucket/damaged.tflite" in error
    assert "Without --preset" not in error
    assert len(cloud.jobs) == 2
    _, out, _ = run("doctor", cells, *start)
    assert "FAIL  data and weights can be looked at\n      " in out


def test_weights_may_be_in_a_bucket_that_may_not_be_listed(cloud, settings):
    cloud.denied = "/b/public/o"
    cloud.buckets["public"] = "US"
    check_readable(settings, "public", listed=False)
    with pytest.raises(UserError, match="No permission to read gs://public"):
        check_readable(settings, "public", listed=True)
    with pytest.raises(UserError, match="Could not read gs://elsewhere"):
        check_readable(settings, "elsewhere", listed=False)


@pytest.mark.parametrize("problem", ["credentials", "network", "bucket", "permission", "data"])
def test_compile_needs_nothing_but_says_what_it_could_not_look_at(
    run, cloud, monkeypatch, tmp_path, problem
):
    data = "gs://elsewhere/data" if problem == "bucket" else "gs://my-bucket/nothing-here"
    if problem == "credentials":
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
    elif problem == "network":
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    elif problem == "permission":
        cloud.denied = "/b/my-bucket/o"
    code, out, error = run("compile", data)
    assert (code, error) == (0, "")
    assert starts(out) == ["not looked", "found: no", "chosen: --preset", "chosen: --set"]
    reason = {
        "credentials": "Run: gcloud auth application-default login\n",
        "network": "Could not reach Google Cloud to read gs://my-bucket",
        "bucket": "Could not read gs://elsewhere",
        "permission": "No permission to read gs://my-bucket (project",
        "data": "gs://my-bucket/nothing-here",
    }
    assert reason[problem] in out
    assert "chosen: --preset small_data_cpu (family ssd: no objects are known yet)\n" in out
    assert (tmp_path / "pipeline.json").exists()


def test_a_url_without_a_bucket_is_one_line(run):
    code, _, error = run("compile", "gs://")
    assert (code, error.count("\n")) == (1, 1)


def test_what_can_not_be_looked_at_is_not_submitted(run, cloud):
    for arguments in (["submit"], ["schedule", "--cron", "0 3 * * 1"]):
        command, *more = arguments
        code, _, error = run(command, "gs://my-bucket/nothing-here", *more)
        assert code == 1
        assert "error: Without --preset, data and weights must be readable from here: " in error
        assert "gs://my-bucket/nothing-here" in error
        assert error.count("\n") == 1
    assert not cloud.jobs
    assert not cloud.schedules


def test_doctor_looks_at_the_data(run, cells, examined):  # noqa: F811
    _, out, _ = run("doctor", cells)
    assert "ok    data and weights can be looked at\n" in out
    assert starts(out) == LOOKED
    _, out, _ = run("doctor", "gs://my-bucket/nothing-here")
    assert "FAIL  data and weights can be looked at\n      " in out
    assert "gs://my-bucket/nothing-here" in out.split("looked at\n")[1]
    _, out, _ = run("doctor", "my_pets")
    assert "Expected --data to be in Cloud Storage. Received: my_pets" in out


def test_a_rehearsal_is_chosen_for_this_machine(cloud, monkeypatch, tmp_path, capsys):
    from pipeline.vertex.rehearsal import process
    from pipeline.vertex.rehearsal import run as rehearsal

    configs = []

    def rehearse(config, folder):
        configs.append(config)
        raise OSError("enough")

    monkeypatch.setattr(process, "start_loading", lambda: None)
    monkeypatch.setattr(rehearsal, "rehearse", rehearse)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    write_voc(tmp_path / "pets", samples(8))
    assert vertex_runner.main(["rehearse", "--data", "pets"]) == 1
    out = capsys.readouterr().out
    assert starts(out) == LOOKED
    assert "(by the weights, the images and 3 cores)" in out
    assert configs[0].training.steps == 600
    assert vertex_runner.main(["rehearse", "--data", "nothing"]) == 1
    assert "There is no data at nothing" in capsys.readouterr().err
    assert vertex_runner.main(["rehearse"]) == 1  # the demo, of whose start nothing is said
    assert capsys.readouterr().out == ""
