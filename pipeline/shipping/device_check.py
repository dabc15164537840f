"""DeviceCheck: the component that runs the checks of `app_check.py` and blesses the model or not.

Its InfraBlessing is that of TFX's own InfraValidator, so the same components accept either.
"""

import json
import os

import tfx.v1 as tfx
from absl import logging
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts
from tfx.utils import io_utils

from pipeline.data.raw_example import labelled_pictures
from pipeline.files import (
    DEVICE_REPORT_FILE,
    FORMS,
    HASH_PROPERTY,
    LABELS_FILE,
    PUSHED_MODEL_FILE,
    hash_together,
)
from pipeline.shipping.app_check import DeviceReport, Limits, check_detector
from pipeline.shipping.judged_files import read_judged_files

_BLESSED_FILE = "INFRA_BLESSED"
_NOT_BLESSED_FILE = "INFRA_NOT_BLESSED"


@tfx.dsl.components.component
def DeviceCheck(
    model: tfx.dsl.components.InputArtifact[standard_artifacts.Model],
    examples: tfx.dsl.components.InputArtifact[standard_artifacts.Examples],
    blessing: tfx.dsl.components.OutputArtifact[standard_artifacts.InfraBlessing],
    quantized: tfx.dsl.components.Parameter[bool] = True,
    max_bytes: tfx.dsl.components.Parameter[int] = 4_000_000,
    max_latency_ms: tfx.dsl.components.Parameter[float] = 0.0,
    threads: tfx.dsl.components.Parameter[int] = 1,
    num_images: tfx.dsl.components.Parameter[int] = 32,
    code_fingerprint: tfx.dsl.components.Parameter[str] = "",
) -> None:
    """Checks a shipping model, see `pipeline.shipping.app_check`.

    Args:
      model: a shipping model, see `pipeline.files`.
      examples: raw tf.Examples; the model runs on pictures of the eval split.
      blessing: gets INFRA_BLESSED or INFRA_NOT_BLESSED, the whole report as device_check.json,
        and the custom properties `blessed` (1 or 0), `reasons` (JSON list), `sha256` (of the
        file), `files_sha256` (with its labels), `size_bytes` and, if the file runs, `latency_ms`
        (median).
      quantized: whether every convolution must be int8.
      max_bytes: size limit of the file.
      max_latency_ms: limit of the median latency; 0 measures without judging.
      threads: of the interpreter.
      num_images: pictures to run, fewer if the split has fewer.
      code_fingerprint: part of the cache key, so that edited checks run again.
    """
    del code_fingerprint
    limits = Limits(
        quantized=quantized,
        max_bytes=max_bytes,
        max_latency_ms=max_latency_ms or None,
        threads=threads,
    )
    files = read_judged_files(model)
    labelled = labelled_pictures(examples, "eval", num_images)
    pictures = [picture.encoded for picture in labelled]
    content, labels_text = files[PUSHED_MODEL_FILE], files[LABELS_FILE].decode()
    forms = {name: files[name] for name in FORMS if name in files}
    report = check_detector(content, labels_text, pictures, limits, forms)
    _mark(blessing, report)
    blessing.set_string_custom_property(HASH_PROPERTY, hash_together(files))


def _mark(blessing, report: DeviceReport):
    text = json.dumps(report.to_json(), indent=2, allow_nan=False)
    io_utils.write_string_file(os.path.join(blessing.uri, DEVICE_REPORT_FILE), text)
    name = _BLESSED_FILE if report.blessed else _NOT_BLESSED_FILE
    io_utils.write_string_file(os.path.join(blessing.uri, name), "")
    blessing.set_int_custom_property("blessed", int(report.blessed))
    blessing.set_string_custom_property("reasons", json.dumps(report.reasons))
    blessing.set_string_custom_property("sha256", report.sha256)
    blessing.set_int_custom_property("size_bytes", report.size_bytes)
    if report.latency:
        blessing.set_float_custom_property("latency_ms", report.latency.median_ms)
    for reason in report.reasons:
        logging.warning("DeviceCheck does not bless the model: %s", reason)


def read_device_report(blessing_uri: str) -> dict:
    """The report in an InfraBlessing artifact, see `DeviceReport.to_json`."""
    with fileio.open(os.path.join(blessing_uri, DEVICE_REPORT_FILE), "r") as file:
        return json.loads(file.read())
