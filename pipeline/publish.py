"""Pushed versions: `python -m pipeline.publish list | rollback | withdraw`.

A version that is withdrawn is no longer served, pushed again, or compared with. Its manifest says
when and why, and so does ML Metadata.
"""

import argparse
import datetime
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence

from pipeline.errors import UserError
from pipeline.shipping.publisher import Publisher, Version

_VERTEX = "vertex://"
_EXIT_CODES = "exit codes: 0 done; 2 nothing could be done"


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--workdir", default="workdir", help="of the local runner (workdir)")
    common.add_argument(
        "--push-to",
        metavar="FOLDER_OR_URL",
        help="where versions were pushed: a folder or gs://BUCKET/FOLDER (WORKDIR/pushed)",
    )
    common.add_argument(
        "--metadata",
        metavar="FILE_OR_URL",
        help="SQLite file, mysql://, postgresql:// or vertex:// URL (WORKDIR/metadata.sqlite)",
    )
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.publish",
        description="Lists pushed versions, withdraws them, and moves `latest` back.",
        epilog=_EXIT_CODES,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        return verbs.add_parser(name, help=text, description=text, parents=[common])

    verb("list", "all versions, the newest first").add_argument(
        "--json", action="store_true", help="print JSON"
    )
    verb("rollback", "move `latest` back, without withdrawing anything").add_argument(
        "version", nargs="?", help="to this one; by default to the newest before the latest"
    )
    withdrawing = verb("withdraw", "never serve, push or compare with a version again")
    withdrawing.add_argument("version", nargs="+", help="its number, or several")
    withdrawing.add_argument("--reason", required=True, metavar="TEXT", help="why, for people")
    return parser.parse_args(argv)


def _list(publisher: Publisher, as_json: bool) -> None:
    versions = publisher.versions()
    if as_json:
        print(json.dumps([_facts(version) for version in versions], indent=2))
        return
    if not versions:
        print(f"No version in {publisher.root}.")
    for version in versions:
        facts = _facts(version)
        state = " (latest)" if version.is_latest else ""
        if version.manifest is None:
            print(
                f"{version.version}{state}  has no readable manifest: it was never whole, or it is "
                "damaged"
            )
            continue
        score = facts["mAP50"]
        parts = [
            f"{version.version}{state}",
            f"pushed {facts['pushed_at']}",
            f"mAP@.5 {score:.3f}" if isinstance(score, float) else None,
            f"sha256 {facts['sha256']}",
            f"run {facts['run']}",
        ]
        print("  ".join(part for part in parts if part))
        if version.withdrawn:
            print(f"    withdrawn {version.withdrawn['at']}: {version.withdrawn['reason']}")


def _facts(version: Version) -> dict:
    manifest = version.manifest or {}
    return {
        "version": str(version.version),
        "path": version.path,
        "latest": version.is_latest,
        "pushed_at": manifest.get("pushed_at"),
        "run": manifest.get("run_id"),
        "mAP50": manifest.get("metrics", {}).get("mAP50"),
        "sha256": version.sha256,
        "withdrawn": version.withdrawn,
    }


def _withdraw(publisher: Publisher, versions: list[str], reason: str, location: str) -> None:
    reason = " ".join(reason.split())  # a line, in lists and on pages
    if not reason:
        raise UserError("Expected a reason to withdraw a version. Received: an empty --reason.")
    mark = _marker(location)  # before anything changes
    at = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    latest = {str(one.version) for one in publisher.versions() if one.is_latest}
    # The latest in the end: it makes way for the newest that is left.
    for version in sorted(versions, key=latest.__contains__):
        found = publisher.withdraw(version, reason, at)
        known = found.withdrawn
        print(f"Version {version} in {publisher.root} is withdrawn since {known['at']}: "
              f"{known['reason']}")  # fmt: skip
        if mark is not None:
            mark(found.sha256, {**known, "version": version, "destination": publisher.root})
    _say_latest(publisher)
    if mark is None:
        print(
            f"note: there is no store at {location}, so only the manifest says so: later runs may "
            "compare with this model. Name the store with --metadata, and repeat this.",
            file=sys.stderr,
        )


def _marker(location: str) -> Callable[[str, dict[str, str]], None] | None:
    """What tells a store of a file that was withdrawn, and why; None if there is no store."""
    if location.startswith(_VERTEX):
        from pipeline.lineage.vertex_service import VertexService
        from pipeline.vertex.withdrawal import withdraw_blessings

        service = VertexService(location)

        def mark(digest: str, _) -> None:
            if not withdraw_blessings(service, digest):
                print(
                    f"note: {location} has no blessing of this file, so nothing is marked there.",
                    file=sys.stderr,
                )

        return mark
    from pipeline.metadata import store

    if "://" not in location and not os.path.exists(location):
        return None
    opened = store.open_store(store.connection_config(location))
    from pipeline.metadata.facts import record_withdrawal

    def record(digest: str, facts: dict[str, str]) -> None:
        record_withdrawal(opened, digest, facts)
        pushed = opened.get_artifacts_by_type("PushedModel")
        if all(one.custom_properties["sha256"].string_value != digest for one in pushed):
            print(
                f"note: {location} knows of no run that pushed this file. If another store does, "
                "name that one with --metadata, and repeat this.",
                file=sys.stderr,
            )

    return record


def _say_latest(publisher: Publisher) -> None:
    latest = next((one for one in publisher.versions() if one.is_latest), None)
    print(f"Latest: {f'version {latest.version}, {latest.path}' if latest else 'none is left'}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    options = _parse(argv)
    location = options.metadata or os.path.join(options.workdir, "metadata.sqlite")
    warnings.filterwarnings("ignore", category=FutureWarning)  # Google's client, of Python's age
    try:
        from pipeline.shipping.destination import publisher_for  # loads ML Metadata

        place = options.push_to or os.path.join(options.workdir, "pushed")
        if os.path.isfile(place):
            raise UserError(
                f"Expected the folder that versions are pushed to. Received: {place}, a file. Name "
                "the folder with --push-to."
            )
        publisher = publisher_for(place)
        if options.verb == "list":
            _list(publisher, options.json)
        elif options.verb == "withdraw":
            _withdraw(publisher, options.version, options.reason, location)
        else:
            moved = publisher.roll_back(options.version)
            print(f"Latest: version {moved.version}, {moved.path}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
