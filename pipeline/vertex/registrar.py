"""ModelRegistrar: on Vertex AI the last component, if models are to be registered.

Not part of `model_registry`, which the command line uses before TFX is loaded.
"""

import json
import os
from typing import Any

from absl import logging
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from pipeline.files import MANIFEST_FILE
from pipeline.settings import VertexSettings
from pipeline.vertex.connection import connect
from pipeline.vertex.model_registry import ModelRegistry


class Executor(base_executor.BaseExecutor):
    """Registers the pushed model, or notes in the output artifact that there is none."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See `ModelRegistrar`."""
        pushed = artifact_utils.get_single_instance(input_dict["pushed_model"])
        registered = artifact_utils.get_single_instance(output_dict["registered_model"])
        if not pushed.get_int_custom_property("pushed"):
            registered.set_int_custom_property("pushed", 0)
            logging.warning("Nothing was pushed, so nothing is registered.")
            return
        # The Pusher's own copy, which nobody moves.
        with fileio.open(os.path.join(pushed.uri, MANIFEST_FILE)) as file:
            manifest = json.load(file)
        settings = VertexSettings.model_validate_json(exec_properties["settings"])
        version = ModelRegistry(connect(settings)).register(
            exec_properties["pipeline_name"],
            pushed.get_string_custom_property("pushed_destination"),
            manifest,
            settings.pipeline_image,
        )
        registered.set_int_custom_property("pushed", 1)
        registered.set_string_custom_property("pushed_destination", version.name)
        registered.set_string_custom_property("pushed_version", version.version)
        logging.info("Registered %s.", version.name)


class ModelRegistrarSpec(ComponentSpec):
    """Inputs, outputs and properties of `ModelRegistrar`."""

    PARAMETERS = {
        "pipeline_name": ExecutionParameter(type=str),
        "settings": ExecutionParameter(type=str),
        "code_fingerprint": ExecutionParameter(type=str),
    }
    INPUTS = {"pushed_model": ChannelParameter(type=standard_artifacts.PushedModel)}
    OUTPUTS = {"registered_model": ChannelParameter(type=standard_artifacts.PushedModel)}


class ModelRegistrar(base_component.BaseComponent):
    """Registers a pushed model in Vertex AI's Model Registry.

    Its output `registered_model` has the custom properties of TFX's PushedModel: `pushed` (1 or 0)
    and, if 1, `pushed_destination` (the resource name with its version) and `pushed_version`.

    Args:
      pushed_model: the Pusher's.
      pipeline_name: names the model in the registry.
      settings: of the run.
      code_fingerprint: of this module; part of the cache key.
    """

    SPEC_CLASS = ModelRegistrarSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        pushed_model: types.BaseChannel,
        pipeline_name: str,
        settings: VertexSettings,
        code_fingerprint: str,
    ):
        super().__init__(
            ModelRegistrarSpec(
                pushed_model=pushed_model,
                pipeline_name=pipeline_name,
                settings=settings.model_dump_json(),
                code_fingerprint=code_fingerprint,
                registered_model=types.Channel(type=standard_artifacts.PushedModel),
            )
        )
