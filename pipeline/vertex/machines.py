"""The machines that can train, and their names in a Vertex AI custom job.

Sources: cloud.google.com/vertex-ai/docs/training/configure-compute (machine types, and that a
`cloud-tpu` has 8 cores), cloud.google.com/vertex-ai/docs/training/training-with-tpu-vm (where
libtpu must be, and that TensorFlow is not supported from TPU v6e on) and
cloud.google.com/tpu/docs/v5e-training (topologies, host cores).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pipeline.errors import UserError


@dataclasses.dataclass(frozen=True)
class Machine:
    """A machine with an accelerator.

    Attributes:
      machine_type: Vertex AI's name for it.
      replicas: number of replicas that share a global batch.
      host_cores: vCPUs that prepare the batches.
      image_target: target of the Dockerfile.
      price: key in the price table.
      accelerator_type: Vertex AI's name for it; empty if the machine type implies it.
      accelerator_count: as Vertex AI counts: cores for `cloud-tpu`.
      topology: of TPU v5e slices.
      environment: variables that the training program needs.
    """

    machine_type: str
    replicas: int
    host_cores: int
    image_target: str
    price: str
    accelerator_type: str = ""
    accelerator_count: int = 0
    topology: str = ""
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def required_devices(self) -> str:
        """What TensorFlow must see, such as "TPU:8"; empty without an accelerator."""
        kind = {"tpu-trainer": "TPU", "gpu-trainer": "GPU"}.get(self.image_target)
        return f"{kind}:{self.replicas}" if kind else ""

    def spec(self) -> dict[str, Any]:
        """The custom job's MachineSpec."""
        spec: dict[str, Any] = {"machine_type": self.machine_type}
        if self.accelerator_type:
            spec["accelerator_type"] = self.accelerator_type
            spec["accelerator_count"] = self.accelerator_count
        if self.topology:
            spec["tpu_topology"] = self.topology
        return spec


# The training program runs on the machine that has the TPU.
_TPU = {"TPU_NAME": "local"}
# Only v5e is driven through PJRT, by the image's libtpu.
_TPU_V5E = _TPU | {
    "NEXT_PLUGGABLE_DEVICE_USE_C_API": "true",
    "TF_PLUGGABLE_DEVICE_LIBRARY_PATH": "/lib/libtpu.so",
}


def _tpu(version: str) -> Machine:
    name = f"TPU_{version.upper()}"
    return Machine("cloud-tpu", 8, 96, "tpu-trainer", f"cloud-tpu/{name}", name, 8, "", _TPU)


def _tpu_v5e(chips: int, host_cores: int, topology: str) -> Machine:
    name = f"ct5lp-hightpu-{chips}t"
    return Machine(name, chips, host_cores, "tpu-trainer", name, topology=topology,
                   environment=_TPU_V5E)  # fmt: skip


MACHINES = {
    "tpu-v2-8": _tpu("v2"),
    "tpu-v3-8": _tpu("v3"),
    "tpu-v5e-1": _tpu_v5e(1, 24, "1x1"),
    "tpu-v5e-4": _tpu_v5e(4, 112, "2x2"),
    "tpu-v5e-8": _tpu_v5e(8, 224, "2x4"),
    "gpu-t4": Machine(
        "n1-standard-16", 1, 16, "gpu-trainer", "n1-standard-16/NVIDIA_TESLA_T4",
        "NVIDIA_TESLA_T4", 1,
    ),
    "gpu-l4": Machine("g2-standard-16", 1, 16, "gpu-trainer", "g2-standard-16", "NVIDIA_L4", 1),
    "cpu": Machine("n1-standard-16", 1, 16, "pipeline", "n1-standard-16"),
}  # fmt: skip

# Regions where Vertex AI offers the TPUs, as cloud.google.com/tpu/docs/regions-zones and
# cloud.google.com/vertex-ai/docs/general/locations list them (November 2026). `doctor` asks the
# project's quota, which decides.
TPU_REGIONS = {
    "tpu-v2-8": ("us-central1", "europe-west4", "asia-east1"),
    "tpu-v3-8": ("us-central1", "europe-west4"),
    "tpu-v5e": ("us-central1", "us-south1", "us-west1", "us-west4", "europe-west4"),
}


def check_region(accelerator: str, region: str) -> None:
    """Checks that a region has the accelerator.

    Raises:
      UserError: it does not; the message names the regions that do.
    """
    family = "tpu-v5e" if accelerator.startswith("tpu-v5e") else accelerator
    regions = TPU_REGIONS.get(family)
    if regions and region not in regions:
        raise UserError(
            f"Expected a region with {accelerator}: {', '.join(regions)}. Received: {region}. "
            "Choose one with --region (the bucket must be in it, too), or another --accelerator."
        )
