from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.transforms.environments import DockerEnvironment
from tfx.utils.dependency_utils import make_beam_dependency_flags

from pipeline import beam_options
from pipeline.fingerprint import ROOT


def test_dataflow_runs_workers_of_our_image():
    arguments = beam_options.dataflow(
        project="p",
        region="us-central1",
        temp_location="gs://b/dataflow",
        image="host/p/i@sha256:0",
        machine_type="n1-standard-4",
        max_workers=8,
        service_account="runner@p.iam.gserviceaccount.com",
        network="projects/1/global/networks/vpc",
        labels=("team=vision",),
    )
    options = PipelineOptions(list(arguments))
    google, workers = options.view_as(GoogleCloudOptions), options.view_as(WorkerOptions)
    assert options.view_as(StandardOptions).runner == "DataflowRunner"
    assert (google.project, google.region) == ("p", "us-central1")
    assert google.temp_location == "gs://b/dataflow"
    assert google.labels == ["team=vision"]
    assert google.service_account_email == "runner@p.iam.gserviceaccount.com"
    assert workers.sdk_container_image == "host/p/i@sha256:0"
    assert (workers.machine_type, workers.max_num_workers) == ("n1-standard-4", 8)
    assert (workers.network, workers.use_public_ips) == ("vpc", False)


def test_spark_and_flink_go_through_a_job_server():
    options = PipelineOptions(list(beam_options.portable("spark:8099", "registry/i@sha256:0", 4)))
    portable = options.view_as(PortableOptions)
    assert options.view_as(StandardOptions).runner == "PortableRunner"
    assert portable.job_endpoint == "spark:8099"
    assert (portable.environment_type, portable.environment_config) == (
        "DOCKER",
        "registry/i@sha256:0",
    )
    assert int(portable.sdk_worker_parallelism) == 4
    assert DockerEnvironment.from_options(portable).container_image == "registry/i@sha256:0"


def test_workers_install_nothing():
    # They are not root; what they need is in the image.
    cloud = beam_options.dataflow(
        project="p", region="r", temp_location="gs://b/t", image="i@sha256:0", machine_type="m",
        max_workers=1,
    )  # fmt: skip
    elsewhere = (cloud, beam_options.portable("spark:8099", "i@sha256:0", 4))
    for arguments in (*elsewhere, beam_options.IN_PROCESS):
        assert make_beam_dependency_flags(list(arguments)) == list(arguments)
    assert all("--sdk_location=container" in arguments for arguments in elsewhere)
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1" in dockerfile
