"""Beam's pipeline options, for each place where data processing can run.

The components do not know them: they are `execution.beam_args` of the configuration. To use Spark
or Flink, pass them to `local_runner.py` as `--set execution.beam_args='[...]'`;
`python -m pipeline.beam_options` prints that value.
"""

import argparse
import json

# TFX reads up to 1,000 examples at a time, 4 GB of a phone's photographs; with this, 20 MB or so.
_SMALL_BATCHES = "--tfxio_use_byte_size_batching"

# For one machine. Beam's default runner would try to download another runner; without an image, TFX
# would pack 50 MB of its source for each component, to send it to the workers that there are not.
IN_PROCESS = (
    "--runner=FnApiRunner",
    "--direct_running_mode=in_memory",
    "--sdk_container_image=unused",
    _SMALL_BATCHES,
)


def dataflow(
    *,
    project: str,
    region: str,
    temp_location: str,
    image: str,
    machine_type: str,
    max_workers: int,
    service_account: str = "",
    network: str = "",
    subnetwork: str = "",
    encryption_key: str = "",
    labels: tuple[str, ...] = (),
) -> tuple[str, ...]:
    """Options for Dataflow, with workers that run the container image of the tasks.

    Args:
      project: id of the project.
      region: of the workers.
      temp_location: gs:// folder for staging.
      image: by digest; contains the code, so that workers install nothing.
      machine_type: of the workers.
      max_workers: most workers that Dataflow may start.
      service_account: of the workers; empty is the project's default account.
      network: its name, or projects/NUMBER/global/networks/NAME.
      subnetwork: its URL.
      encryption_key: full name of a customer-managed key.
      labels: key=value.

    Returns:
      Command-line arguments of a Beam pipeline.
    """
    arguments = [
        "--runner=DataflowRunner",
        f"--project={project}",
        f"--region={region}",
        f"--temp_location={temp_location}",
        f"--sdk_container_image={image}",
        "--sdk_location=container",
        f"--worker_machine_type={machine_type}",
        f"--max_num_workers={max_workers}",
        "--experiments=use_runner_v2",
        _SMALL_BATCHES,
    ]
    if service_account:
        arguments.append(f"--service_account_email={service_account}")
    if network:
        # Dataflow expects the bare name, and workers in a VPC need no public address.
        arguments += [f"--network={network.rpartition('/')[2]}", "--no_use_public_ips"]
    if subnetwork:
        arguments.append(f"--subnetwork={subnetwork}")
    if encryption_key:
        arguments.append(f"--dataflow_kms_key={encryption_key}")
    arguments += [f"--labels={label}" for label in labels]
    return tuple(arguments)


def portable(job_endpoint: str, image: str, parallelism: int) -> tuple[str, ...]:
    """Options for Spark or Flink, through the job server that Beam provides for each.

    Args:
      job_endpoint: HOST:PORT of the job server (apache/beam_spark3_job_server,
        apache/beam_flink1.18_job_server).
      image: container image of the workers.
      parallelism: concurrent workers.

    Returns:
      Command-line arguments of a Beam pipeline.
    """
    return (
        "--runner=PortableRunner",
        f"--job_endpoint={job_endpoint}",
        "--environment_type=DOCKER",
        f"--environment_config={image}",
        # Without these two, TFX would send itself to the workers, which can't install anything.
        f"--sdk_container_image={image}",
        "--sdk_location=container",
        f"--sdk_worker_parallelism={parallelism}",
        _SMALL_BATCHES,
    )


def main(arguments: list[str] | None = None) -> None:
    """Prints the setting for Spark or Flink."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.beam_options",
        description="Prints the setting that runs data processing on Spark or Flink.",
    )
    parser.add_argument("--job-endpoint", required=True, metavar="HOST:PORT")
    parser.add_argument("--image", required=True, help="container image of the workers")
    parser.add_argument("--parallelism", type=int, default=4, help="workers; default: 4")
    options = parser.parse_args(arguments)
    value = portable(options.job_endpoint, options.image, options.parallelism)
    print(f"execution.beam_args={json.dumps(value)}")


if __name__ == "__main__":
    main()
