import json
from pathlib import Path

from tfx.components.util import model_utils
from tfx.types import standard_artifacts

from pipeline.shipping.device_check import DeviceCheck, read_device_report
from tests.pipeline.tiny_detector import LABELS, hash_of


def check(model, examples, folder, **parameters):
    """Runs the component's executor."""
    blessing = standard_artifacts.InfraBlessing()
    blessing.uri = str(folder / "infra")
    DeviceCheck.EXECUTOR_SPEC.executor_class().Do(
        {"model": [model], "examples": [examples]}, {"blessing": [blessing]}, parameters
    )
    return blessing


def test_a_good_model_gets_tfx_s_blessing(tmp_path, model_artifact, examples_artifact, int8_model):
    blessing = check(model_artifact(int8_model, LABELS), examples_artifact, tmp_path)
    assert model_utils.is_infra_validated(blessing)
    assert (Path(blessing.uri) / "INFRA_BLESSED").exists()
    assert blessing.get_int_custom_property("size_bytes") == len(int8_model)
    assert blessing.get_string_custom_property("files_sha256") == hash_of(int8_model, LABELS)
    assert blessing.get_float_custom_property("latency_ms") > 0
    assert json.loads(blessing.get_string_custom_property("reasons")) == []
    report = read_device_report(blessing.uri)
    assert report["blessed"]
    assert report["images"] == 12


def test_a_failed_check_is_recorded(tmp_path, model_artifact, examples_artifact, int8_model):
    model = model_artifact(int8_model, LABELS)
    blessing = check(model, examples_artifact, tmp_path, max_bytes=10)
    assert not model_utils.is_infra_validated(blessing)
    assert (Path(blessing.uri) / "INFRA_NOT_BLESSED").exists()
    [reason] = json.loads(blessing.get_string_custom_property("reasons"))
    assert reason.startswith("size: Expected at most 10 bytes")
