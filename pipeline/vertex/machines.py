"""The machines that can train, and what a Vertex AI custom job calls them.

Sources: cloud.google.com/vertex-ai/docs/training/configure-compute (machine types, and that a
`cloud-tpu` takes 8 cores) and cloud.google.com/tpu/docs/v5e-training (topologies, host cores).
"""

import dataclasses
from typing import Any

from pipeline.errors import UserError


@dataclasses.dataclass(frozen=True)
class Machine:
    """A machine with an accelerator.

    Attributes:
      machine_type: Vertex AI's name.
      replicas: that share a global batch.
      host_cores: vCPUs that feed it.
      image_target: of the Dockerfile.
      price: its name in the price table.
      accelerator_type: Vertex AI's name; empty when the machine type says it.
      accelerator_count: as Vertex AI counts, cores for `cloud-tpu`.
      topology: of TPU v5e slices.
    """

    machine_type: str
    replicas: int
    host_cores: int
    image_target: str
    price: str
    accelerator_type: str = ""
    accelerator_count: int = 0
    topology: str = ""

    def spec(self) -> dict[str, Any]:
        """The custom job's MachineSpec."""
        spec: dict[str, Any] = {"machine_type": self.machine_type}
        if self.accelerator_type:
            spec["accelerator_type"] = self.accelerator_type
            spec["accelerator_count"] = self.accelerator_count
        if self.topology:
            spec["tpu_topology"] = self.topology
        return spec


MACHINES = {
    "tpu-v2-8": Machine("cloud-tpu", 8, 96, "tpu-trainer", "cloud-tpu/TPU_V2", "TPU_V2", 8),
    "tpu-v3-8": Machine("cloud-tpu", 8, 96, "tpu-trainer", "cloud-tpu/TPU_V3", "TPU_V3", 8),
    "tpu-v5e-1": Machine(
        "ct5lp-hightpu-1t", 1, 24, "tpu-trainer", "ct5lp-hightpu-1t", topology="1x1"
    ),
    "tpu-v5e-4": Machine(
        "ct5lp-hightpu-4t", 4, 112, "tpu-trainer", "ct5lp-hightpu-4t", topology="2x2"
    ),
    "tpu-v5e-8": Machine(
        "ct5lp-hightpu-8t", 8, 224, "tpu-trainer", "ct5lp-hightpu-8t", topology="2x4"
    ),
    "gpu-t4": Machine(
        "n1-standard-16", 1, 16, "gpu-trainer", "n1-standard-16/NVIDIA_TESLA_T4",
        "NVIDIA_TESLA_T4", 1,
    ),
    "gpu-l4": Machine(
        "g2-standard-16", 1, 16, "gpu-trainer", "g2-standard-16", "NVIDIA_L4", 1
    ),
    "cpu": Machine("n1-standard-16", 1, 16, "pipeline", "n1-standard-16"),
}  # fmt: skip

# Regions where Vertex AI offers the TPUs, as cloud.google.com/tpu/docs/regions-zones and
# cloud.google.com/vertex-ai/docs/general/locations list them (November 2026). `doctor` asks the
# project's quota, which has the last word.
TPU_REGIONS = {
    "tpu-v2-8": ("us-central1", "europe-west4", "asia-east1"),
    "tpu-v3-8": ("us-central1", "europe-west4"),
    "tpu-v5e": ("us-central1", "us-south1", "us-west1", "us-west4", "europe-west4"),
}


def check_region(accelerator: str, region: str) -> None:
    """Checks that a region has a TPU.

    Raises:
      UserError: when it has not; names those that have.
    """
    family = "tpu-v5e" if accelerator.startswith("tpu-v5e") else accelerator
    regions = TPU_REGIONS.get(family)
    if regions and region not in regions:
        raise UserError(
            f"Expected a region with {accelerator}: {', '.join(regions)}. Received: {region}. "
            "Choose one with --region (the bucket has to be there, too), or another --accelerator."
        )
