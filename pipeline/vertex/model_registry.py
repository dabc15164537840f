"""Registers a pushed model in Vertex Model Registry, with its metrics and where it came from.

Every push becomes a version of one model, which has the pipeline's name. The version that a push
makes has the alias `push-N` of the published version N: a repetition finds it, and makes no second.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from google.api_core import exceptions
from google.cloud import aiplatform_v1 as gca
from google.protobuf import json_format, struct_pb2

from pipeline.settings import VertexSettings
from pipeline.vertex.service_errors import explained, patient

# Published by Vertex AI for the object detectors of its own.
METRICS_SCHEMA = (
    "gs://google-cloud-aiplatform/schema/modelevaluation/image_object_detection_metrics_1.0.0.yaml"
)
_LABEL_LENGTH = 63
_NOT_IN_LABELS = re.compile(r"[^a-z0-9_-]")
_UPLOAD_SECONDS = 600.0
_PATIENCE_SECONDS = 300.0
# Two runs that register the first version at once.
_ATTEMPTS = 3


@dataclasses.dataclass(frozen=True)
class Registered:
    """A version in the registry: its resource name with the version, and its number."""

    name: str
    version: str


def model_id(pipeline_name: str) -> str:
    """Id of the model that all versions of a pipeline's models belong to.

    Raises:
      ValueError: the service takes ids of 63 characters at most.
    """
    name = f"detector-{pipeline_name}"
    if len(name) > _LABEL_LENGTH:
        raise ValueError(
            f"Expected a pipeline name of at most {_LABEL_LENGTH - len('detector-')} characters "
            f"to register models under. Received: {pipeline_name}. Choose one with --set name=..."
        )
    return name


class ModelRegistry:
    """The Model Registry of a project and region.

    Args:
      settings: where; credentials are the Application Default Credentials.
      retry_seconds: until the first repetition of a call that found the service busy.
    """

    def __init__(self, settings: VertexSettings, retry_seconds: float = 1.0):
        self._settings = settings
        self._patient = patient(_PATIENCE_SECONDS, retry_seconds)
        endpoint = settings.api_endpoint or f"{settings.region}-aiplatform.googleapis.com"
        with explained(settings, "connect"):
            self._client = gca.ModelServiceClient(
                client_options={"api_endpoint": endpoint}, transport=settings.api_transport
            )
        self._parent = f"projects/{settings.project}/locations/{settings.region}"

    def register(
        self, pipeline_name: str, folder: str, manifest: Mapping[str, Any], image: str
    ) -> Registered:
        """Registers a published version, unless it is registered already.

        Args:
          pipeline_name: see `model_id`.
          folder: gs:// URL of the published version.
          manifest: its manifest.json.
          image: container image that can read the model.

        Returns:
          The version in the registry.

        Raises:
          UserError: what the service refuses.
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
                    # Another run made the model meanwhile: ours becomes its next version.
                    if attempt == _ATTEMPTS - 1:
                        raise
            self._add_metrics(f"{name}@{version}", manifest)
        return Registered(f"{name}@{version}", version)

    def _find(self, name: str) -> str | None:
        """The number of a version; None when there is none of that name."""
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
            # The service demands a container. This one reads the file; it serves no predictions.
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
    """Where a model came from, as labels: fingerprints, cut to what a label holds."""
    facts = {
        **{f"{name}-fingerprint": value for name, value in manifest["fingerprints"].items()},
        "sha256": manifest["files"]["detect.tflite"]["sha256"],
        "pipeline-run": manifest["run_id"],
        "pushed-version": manifest["version"],
    }
    return {
        name: _NOT_IN_LABELS.sub("-", value.lower())[:_LABEL_LENGTH]
        for name, value in facts.items()
        if value
    }


def describe(manifest: Mapping[str, Any]) -> str:
    """One line for people."""
    metrics = manifest["metrics"]
    return (
        f"mAP@.5 {metrics['mAP50']:.3f}, mAP@[.5:.95] {metrics['mAP']:.3f}, "
        f"{len(manifest['classes'])} classes, run {manifest['run_id'] or 'unknown'}"
    )
