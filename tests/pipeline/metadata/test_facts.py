import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline import presets
from pipeline.config import override
from pipeline.metadata import facts, store
from pipeline.metadata.origin import read_origin
from pipeline.metadata.records import NO_ORIGIN, RUN_CONTEXT, to_run


def test_a_model_is_found_by_the_content_of_a_file(tmp_path):
    opened = store.open_store(store.connection_config(str(tmp_path / "metadata.sqlite")))
    type_id = opened.put_artifact_type(mlmd.ArtifactType(name="Model"))
    models = [mlmd.Artifact(type_id=type_id, uri=f"/models/{name}") for name in "abc"]
    ids = opened.put_artifacts(models)
    for key, digest in zip(ids[1:], ("1", "1"), strict=True):  # a copy has the same files
        files = {"Format-Serving/float/weights.npz": {"sha256": digest, "size_bytes": 1}}
        facts.write_record(opened, "files", str(key), files)
    assert facts.find_model(opened, "1") == "/models/b"
    assert facts.find_model(opened, "2") is None


@pytest.mark.parametrize("is_recorded", [True, False])
def test_every_run_records_its_commit_and_if_wanted_host_and_user(tmp_path, is_recorded):
    opened = store.open_store(store.connection_config(str(tmp_path / "metadata.sqlite")))
    wanted = {"execution.record_host_and_user": is_recorded}
    facts.record_start(opened, "run", override(presets.load("demo"), wanted))
    (context,) = opened.get_contexts_by_type(RUN_CONTEXT)
    origin = to_run(context).origin
    assert origin == NO_ORIGIN | read_origin(with_host_and_user=is_recorded)
    assert origin["commit"]
    assert (origin["host"] is not None) == (origin["user"] is not None) == is_recorded
