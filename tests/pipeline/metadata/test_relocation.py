import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.metadata import store
from pipeline.metadata.relocation import follow, replace_folder


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a/pets", "/new"),
        ("/a/pets/x", "/new/x"),
        ("file:///a/pets/x", "file:///new/x"),
        ('{"dir": "/a/pets", "file": "/a/pets/x"}', '{"dir": "/new", "file": "/new/x"}'),
        ("/a/pets2/x", "/a/pets2/x"),
        ("/a/pets.old", "/a/pets.old"),
        ("/mnt/a/pets/x", "/mnt/a/pets/x"),
        ("gs://bucket/a/pets", "gs://bucket/a/pets"),
        ("", ""),
    ],
)
def test_only_the_folder_itself_is_replaced(text, expected):
    assert replace_folder(text, "/a/pets", "/new") == expected


def test_artifacts_follow_their_folder_with_their_properties(tmp_path):
    opened = store.open_store(store.connection_config(str(tmp_path / "metadata.sqlite")))
    kind = mlmd.ArtifactType(name="PushedModel", properties={"size": mlmd.INT})
    type_id = opened.put_artifact_type(kind)
    artifacts = [
        mlmd.Artifact(type_id=type_id, uri=f"{root}/Pusher/1", state=mlmd.Artifact.LIVE)
        for root in ("/a/pets", "/a/pets2")
    ]
    artifacts[0].properties["size"].int_value = 3
    artifacts[0].custom_properties["pushed_destination"].string_value = "/a/pets/pushed/1"
    opened.put_artifacts(artifacts)
    before = opened.get_artifacts()
    assert follow(opened, "/a/pets", "/new") == 1
    moved, other = opened.get_artifacts()
    assert other == before[1]
    assert moved.uri == "/new/Pusher/1"
    assert moved.custom_properties["pushed_destination"].string_value == "/new/pushed/1"
    assert (moved.properties["size"].int_value, moved.state) == (3, mlmd.Artifact.LIVE)
    assert moved.create_time_since_epoch == before[0].create_time_since_epoch
    assert follow(opened, "/a/pets", "/new") == 0
