"""vertex_setup.sh, with a gcloud that only keeps what it is told to create."""

import os
import subprocess

import pytest
import yaml

from pipeline.fingerprint import ROOT
from pipeline.vertex import doctor

RUNNER = "serviceAccount:detector@my-project.iam.gserviceaccount.com"
BUILDER = "detector-build@my-project.iam.gserviceaccount.com"
# Creates nothing twice; a new account is not known to the first command that names it.
GCLOUD = """#!/bin/sh
echo "$*" >> "$STATE/log"
[ "$1" = config ] && { echo me@example.com; exit; }
shift 3  # --project my-project --quiet
thing="$STATE/$2-$(echo "$4" | sed 's/@.*//; s/[^a-z-]//g')"
case "$3" in
  describe) [ -e "$thing" ] ;;
  create) [ ! -e "$thing" ] && touch "$thing" ;;
  add-iam-policy-binding) [ -e "$STATE/known" ] || { touch "$STATE/known"; exit 1; } ;;
esac
"""


@pytest.fixture
def set_up(tmp_path):
    """Runs the script; returns the process, and gcloud's arguments after the common ones."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gcloud").write_text(GCLOUD)
    (tmp_path / "bin" / "gcloud").chmod(0o755)
    state = tmp_path / "state"
    state.mkdir()

    def run(*arguments: str):
        (state / "log").write_text("")
        done = subprocess.run(
            [ROOT / "vertex_setup.sh", *arguments],
            env=os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
                              "STATE": str(state), "SETUP_WAIT": "0"},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        lines = (state / "log").read_text().splitlines()
        return done, [line.removeprefix("--project my-project --quiet ") for line in lines]

    return run


def test_everything_is_created_once(set_up):
    done, commands = set_up("my-project", "us-central1", "my-bucket")
    assert done.returncode == 0, done.stderr
    created = [command for command in commands if " create " in command]
    assert [command.split()[:4] for command in created] == [
        ["storage", "buckets", "create", "gs://my-bucket"],
        ["artifacts", "repositories", "create", "detector"],
        ["iam", "service-accounts", "create", "detector"],
        ["iam", "service-accounts", "create", "detector-build"],
    ]
    again, commands_again = set_up("my-project", "us-central1", "my-bucket")
    assert again.returncode == 0, again.stderr
    assert [command for command in commands_again if " create " in command] == []
    assert set(commands_again) == set(commands) - set(created)


def test_the_account_gets_what_doctor_asks_for(set_up):
    _, commands = set_up("my-project", "us-central1", "gs://my-bucket")
    for api in doctor.APIS:
        assert f"{api}.googleapis.com" in commands[1]
    bindings = [command for command in commands if "add-iam-policy-binding" in command]

    def bound(kind: str, member: str) -> set[str]:
        return {
            command.partition("--role=")[2].split()[0]
            for command in bindings
            if command.startswith(kind) and f"--member={member} " in command
        }

    account = RUNNER.partition(":")[2]
    assert bound("projects", RUNNER) == set(doctor.PROJECT_PERMISSIONS)
    assert bound("storage buckets add-iam-policy-binding gs://my-bucket ", RUNNER) == set(
        doctor.BUCKET_PERMISSIONS
    )
    on_account = f"iam service-accounts add-iam-policy-binding {account} "
    assert bound(on_account, RUNNER) == set(doctor.ACCOUNT_PERMISSIONS)
    assert bound(on_account, "user:me@example.com") == {
        "roles/iam.serviceAccountUser", "roles/iam.serviceAccountTokenCreator",
    }  # fmt: skip


def test_cloud_build_builds_as_the_account_that_may(set_up):
    _, commands = set_up("my-project", "us-central1", "my-bucket")
    build = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text())
    account = build["serviceAccount"].replace("$PROJECT_ID", "my-project")
    assert account == f"projects/my-project/serviceAccounts/{BUILDER}"
    assert build["options"]["logging"] == "CLOUD_LOGGING_ONLY"
    assert any(
        f"--member=serviceAccount:{BUILDER} --role=roles/cloudbuild.builds.builder" in command
        for command in commands
    )


def test_it_asks_for_what_it_needs(set_up):
    done, commands = set_up("my-project")
    assert done.returncode == 2
    assert "usage:" in done.stderr
    assert not commands
