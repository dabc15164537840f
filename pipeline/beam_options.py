"""Beam's pipeline options for the places where data processing can run.

The components do not know them: they are `execution.beam_args` of the configuration. On premises
they go to `local_runner.py` as `--set execution.beam_args='[...]'`; `python -m
pipeline.beam_options` prints that value.
"""

import argparse
import json

# What one machine needs: Beam's default runner tries to download another one.
IN_PROCESS = ("--runner=FnApiRunner", "--direct_running_mode=in_memory")


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
    """Dataflow, with workers that run the tasks' own container image.

    Args:
      project: its id.
      region: where the workers are.
      temp_location: gs:// folder for staging.
      image: by digest; it holds the code, so that nothing is installed at start.
      machine_type: of the workers.
      max_workers: at most.
      service_account: of the workers; empty is the project's default one.
      network: its name or projects/NUMBER/global/networks/NAME.
      subnetwork: its URL.
      encryption_key: customer-managed, full name.
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
    ]
    if service_account:
        arguments.append(f"--service_account_email={service_account}")
    if network:
        # Dataflow takes a network's name, and workers in a VPC need no address outside of it.
        arguments += [f"--network={network.rpartition('/')[2]}", "--no_use_public_ips"]
    if subnetwork:
        arguments.append(f"--subnetwork={subnetwork}")
    if encryption_key:
        arguments.append(f"--dataflow_kms_key={encryption_key}")
    arguments += [f"--labels={label}" for label in labels]
    return tuple(arguments)


def portable(job_endpoint: str, image: str, parallelism: int) -> tuple[str, ...]:
    """Spark or Flink, through the job server that Beam ships for each.

    Args:
      job_endpoint: HOST:PORT of the job server (apache/beam_spark3_job_server,
        apache/beam_flink1.18_job_server).
      image: container image in which the cluster's machines run the workers.
      parallelism: concurrent workers.

    Returns:
      Command-line arguments of a Beam pipeline.
    """
    return (
        "--runner=PortableRunner",
        f"--job_endpoint={job_endpoint}",
        "--environment_type=DOCKER",
        f"--environment_config={image}",
        # TFX would ship itself to workers that don't say they have it, and these can't install.
        f"--sdk_container_image={image}",
        "--sdk_location=container",
        f"--sdk_worker_parallelism={parallelism}",
    )


def main(arguments: list[str] | None = None) -> None:
    """Prints the setting for a cluster on premises."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.beam_options",
        description="Prints the setting that runs data processing on Spark or Flink.",
    )
    parser.add_argument("--job-endpoint", required=True, metavar="HOST:PORT")
    parser.add_argument("--image", required=True)
    parser.add_argument("--parallelism", type=int, default=4)
    options = parser.parse_args(arguments)
    value = portable(options.job_endpoint, options.image, options.parallelism)
    print(f"execution.beam_args={json.dumps(value)}")


if __name__ == "__main__":
    main()
