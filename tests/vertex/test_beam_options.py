from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
    WorkerOptions,
)

from pipeline import beam_options


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
