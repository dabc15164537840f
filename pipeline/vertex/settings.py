"""What Vertex AI has to know. Light on purpose: a part of `pipeline.config`."""

from typing import Annotated, Literal

from pydantic import Field

from models.settings import Count, Settings

Accelerator = Literal[
    "tpu-v2-8", "tpu-v3-8", "tpu-v5e-1", "tpu-v5e-4", "tpu-v5e-8", "gpu-t4", "gpu-l4", "cpu"
]


class VertexSettings(Settings):
    """Where and on what a run on Vertex AI takes place. Local runs ignore it."""

    project: str = ""
    """Id of the Google Cloud project."""
    region: Annotated[str, Field(pattern=r"^[a-z]+-[a-z]+[0-9]+$")] = "us-central1"
    """Of everything: pipeline, training, Dataflow, bucket."""
    bucket: str = ""
    """Cloud Storage bucket, without gs://; artifacts, checkpoints and pushed models go there."""
    pipeline_image: str = ""
    """Container image of every task, by digest: HOST/PATH@sha256:..."""
    trainer_image: str = ""
    """Container image of the training job, by digest; its target fits the accelerator."""
    accelerator: Accelerator = "tpu-v3-8"
    """What trains."""
    data_processing: Literal["dataflow", "in_task"] = "dataflow"
    """Where Beam runs: on Dataflow, or inside the task for small data."""
    dataflow_machine_type: str = "n1-standard-4"
    """Of Dataflow's workers."""
    dataflow_max_workers: Count = 8
    """Dataflow's workers, at most."""
    service_account: str = ""
    """That the pipeline runs as; empty is the project's default one."""
    network: str = ""
    """projects/NUMBER/global/networks/NAME, to keep traffic inside a VPC."""
    subnetwork: str = ""
    """URL of the subnetwork of Dataflow's workers, when the network has custom ones."""
    encryption_key: str = ""
    """Customer-managed key: projects/P/locations/R/keyRings/K/cryptoKeys/N."""
    labels: tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*=[a-z0-9_-]*$")], ...] = ()
    """key=value, on every resource that the run makes."""
    caching: bool = True
    """Reuse the outputs of earlier, equal tasks."""
    model_registry: bool = False
    """Register each pushed model in Vertex Model Registry, with its metrics and lineage labels."""
    experiment: str = ""
    """Vertex AI Experiment that the run is filed under."""
    api_endpoint: str = ""
    """Instead of REGION-aiplatform.googleapis.com, for Private Service Connect."""
    api_transport: Literal["grpc", "rest"] = "grpc"
    """rest where a proxy passes HTTP/1.1 only."""

    @property
    def label_map(self) -> dict[str, str]:
        """The labels by key."""
        return dict(label.split("=", 1) for label in self.labels)
