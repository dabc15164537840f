"""The Evaluator, for a model whose labels are part of what is judged.

Beside the figures it keeps what they were computed from, see `judged_pictures`.
"""

import logging

import tfx.v1 as tfx
from tfx import types
from tfx.components.evaluator import executor as evaluator_executor
from tfx.dsl.components.base import executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from pipeline.files import HASH_PROPERTY, LABELS_FILE, SHIPPING_MODEL_FILE, serving_path
from pipeline.shipping.judged_files import read_judged_files, require_same
from pipeline.shipping.judged_pictures import recording, write_thresholds

_log = logging.getLogger("detector")


class Executor(evaluator_executor.Executor):
    """TFX's, which also records the hash of the model with its labels, and what it judged."""

    def Do(self, input_dict, output_dict, exec_properties):
        """Evaluates, unless a model was changed since the TFLiteRewriter made it.

        Without a baseline if its files are gone: unlike `BlessedBeforeStrategy`, the resolver of
        Vertex AI looks at no files, and every later run would fail.

        Raises:
          UserError: a model was changed.
        """
        judged = _require_unchanged(artifact_utils.get_single_instance(input_dict["model"]))
        baselines = [one for one in input_dict.get("baseline_model", ()) if _is_there(one)]
        input_dict = {**input_dict, "baseline_model": baselines}
        for baseline in baselines:
            if baseline.has_custom_property(HASH_PROPERTY):  # it may be older than these hashes
                _require_unchanged(baseline)
        evaluation = artifact_utils.get_single_uri(output_dict["evaluation"])
        with recording(evaluation):
            super().Do(input_dict, output_dict, exec_properties)
        write_thresholds(evaluation)
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        blessing.set_string_custom_property(HASH_PROPERTY, judged)


def _require_unchanged(model: types.Artifact) -> str:
    return require_same(read_judged_files(model), model, "TFLiteRewriter", model.uri)


def _is_there(baseline: types.Artifact) -> bool:
    files = (serving_path(baseline.uri, name) for name in (SHIPPING_MODEL_FILE, LABELS_FILE))
    missing = next((path for path in files if not fileio.exists(path)), None)
    if missing:
        _log.warning("no comparison with the last blessed model: %s is gone", missing)
    return not missing


class DetectionEvaluator(tfx.components.Evaluator):
    """TFX's Evaluator with `Executor`; its id is `Evaluator`."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.with_id("Evaluator")
