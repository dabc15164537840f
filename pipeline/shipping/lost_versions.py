"""Notices that published versions are gone, so that a cached Pusher does not claim them."""

import os

from ml_metadata.metadata_store import metadata_store

from pipeline.files import LABELS_FILE, LATEST, MANIFEST_FILE, PUSHED_MODEL_FILE, sha256_of

_PUSHED_MODEL = "PushedModel"


def lost_versions(store: metadata_store.MetadataStore, destination: str) -> tuple[str, ...]:
    """What was pushed to a folder and is no longer there as it was pushed.

    Args:
      store: has the PushedModel artifacts of earlier runs, see `pipeline.shipping.pusher.Pusher`.
      destination: a folder; of URLs nothing is known here.

    Returns:
      The ids of the PushedModel artifacts whose version is missing, incomplete or another file by
      now, and `latest after ID` when versions were pushed, the last of them as that artifact, and
      no `latest` leads to one. It is a part of the Pusher's cache key: the same losses give the
      same value, and what is pushed again and lost again gives another one.
    """
    if "://" in destination:
        return ()
    folder = os.path.realpath(destination)
    pushed, lost = [], []
    for artifact in store.get_artifacts_by_type(_PUSHED_MODEL):
        facts = artifact.custom_properties
        version = os.path.realpath(facts["pushed_destination"].string_value)
        if not facts["pushed"].int_value or os.path.dirname(version) != folder:
            continue
        pushed.append(artifact.id)
        if not _is_whole(version, facts["sha256"].string_value):
            lost.append(artifact.id)
    values = [str(artifact_id) for artifact_id in sorted(lost)]
    if pushed and not os.path.isdir(os.path.join(folder, LATEST)):
        values.append(f"{LATEST} after {max(pushed)}")
    return tuple(values)


def _is_whole(version: str, sha256: str) -> bool:
    try:
        for name in (LABELS_FILE, MANIFEST_FILE):
            os.stat(os.path.join(version, name))
        return sha256_of(os.path.join(version, PUSHED_MODEL_FILE)) == sha256
    except OSError:
        return False
