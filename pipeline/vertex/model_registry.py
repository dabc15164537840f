"""Registers pushed models in Vertex AI's Model Registry, with their metrics and lineage.

Every push becomes a version of one model that has the pipeline's name. The version of push N has
the alias `push-N`, by which a repeated push finds it instead of registering it twice.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from google.api_core import exceptions
from google.cloud import aiplatform_v1 as gca
from google.protobuf import json_format, struct_pb2

from pipeline.vertex.connection import Connection
from pipeline.vertex.labels import MAX_LENGTH, as_labels
from pipeline.vertex.service_errors import explained, patient

# Published by Vertex AI, for its own object detectors.
METRICS_SCHEMA = (
    "gs://google-cloud-aiplatform/schema/modelevaluation/image_object_detection_metrics_1.0.0.yaml"
)
_UPLOAD_SECONDS = 600.0
_PATIENCE_SECONDS = 300.0
# Several runs may try to register the first version at once.
_ATTEMPTS = 3


@dataclasses.dataclass(frozen=True)
class Registered:
    """A version in the registry: its resource name with the version, and its number."""

    name: str
    version: str


def model_id(pipeline_name: str) -> str:
    """Id of the model of which every push of a pipeline is a version.

    Raises:
      ValueError: it would be longer than the 63 characters that the service allows.
    """
    name = f"detector-{pipeline_name}"
    if len(name) > MAX_LENGTH:
        raise ValueError(
            f"Expected a pipeline name of at most {MAX_LENGTH - len('detector-')} characters, "
            f"to register models under. Received: {pipeline_name}. Choose one with --set name=..."
        )
    return name


class ModelRegistry:
    """The Model Registry of a project and region.

    Args:
      connection: see `pipeline.vertex.connection.connect`.
    """

    def __init__(self, connection: Connection):
        self._settings = connection.settings
        self._patient = patient(_PATIENCE_SECONDS)
        self._client = connection.client(gca.ModelServiceClient)
        self._parent = connection.parent

    def register(
        self, pipeline_name: str, folder: str, manifest: Mapping[str, Any], image: str
    ) -> Registered:
        """Registers a published version, unless it already is registered.

        Args:
          pipeline_name: see `model_id`.
          folder: gs:// URL of the published version.
          manifest: its manifest.json.
          image: container image that can read the model.

        Returns:
          The version in the registry.

        Raises:
          UserError: the service rejects it.
        """
        name = f"{self._parent}/models/{model_id(pipeline_name)}"
        alias = f"push-{manifest['version']}"
        with explained(self._settings, f"register {name}"):
            for attempt in range(_ATTEMPTS):
                version = self._find(f"{name}@{alias}")
                if version is not None:
                    break
                try:
                    version = self._upload(name, alias, folder, manifest, image)
                    break
                except exceptions.Conflict:
                    # Another run created the model meanwhile: ours becomes its next version.
                    if attempt == _ATTEMPTS - 1:
                        raise
            self._add_metrics(f"{name}@{version}", manifest)
        return Registered(f"{name}@{version}", version)

    def _find(self, name: str) -> str | None:
        """The number of a version, or None if it does not exist."""
        try:
            return self._patient(self._client.get_model)(name=name).version_id
        except exceptions.NotFound:
            return None

    def _upload(self, name: str, alias: str, folder: str, manifest, image: str) -> str:
        model = gca.Model(
            display_name=name.rpartition("/")[2],
            version_description=describe(manifest),
            version_aliases=[alias],
            artifact_uri=folder,
            # The service requires a container. This one can read the file but serves nothing.
            container_spec=gca.ModelContainerSpec(image_uri=image),
            labels=labels_of(manifest) | self._settings.label_map,
        )
        if self._settings.encryption_key:
            model.encryption_spec = gca.EncryptionSpec(kms_key_name=self._settings.encryption_key)
        request = gca.UploadModelRequest(parent=self._parent, model=model)
        if self._find(name) is None:
            request.model_id = name.rpartition("/")[2]
        else:
            request.parent_model = name
        operation = self._patient(self._client.upload_model)(request=request)
        return operation.result(timeout=_UPLOAD_SECONDS).model_version_id

    def _add_metrics(self, name: str, manifest: Mapping[str, Any]) -> None:
        if list(self._patient(self._client.list_model_evaluations)(parent=name)):
            return
        evaluation = gca.ModelEvaluation(
            display_name=f"push-{manifest['version']}",
            metrics_schema_uri=METRICS_SCHEMA,
            metrics=json_format.ParseDict(metrics_of(manifest), struct_pb2.Value()),
        )
        self._patient(self._client.import_model_evaluation)(
            parent=name, model_evaluation=evaluation
        )


def metrics_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest's metrics in the form of `METRICS_SCHEMA`."""
    metrics = manifest["metrics"]
    return {
        "boundingBoxMeanAveragePrecision": metrics["mAP"],
        "boundingBoxMetrics": [{"iouThreshold": 0.5, "meanAveragePrecision": metrics["mAP50"]}],
    }


def labels_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """A model's lineage as labels: fingerprints, cut to the length of a label."""
    facts = {
        **{f"{name}-fingerprint": value for name, value in manifest["fingerprints"].items()},
        "sha256": manifest["files"]["detect.tflite"]["sha256"],
        "pipeline-run": manifest["run_id"],
        "pushed-version": manifest["version"],
    }
    return as_labels(facts)


def describe(manifest: Mapping[str, Any]) -> str:
    """One line for readers of the console."""
    metrics = manifest["metrics"]
    return (
        f"mAP@.5 {metrics['mAP50']:.3f}, mAP@[.5:.95] {metrics['mAP']:.3f}, "
        f"{len(manifest['classes'])} classes, run {manifest['run_id'] or 'unknown'}"
    )
