import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.errors import UserError
from pipeline.metadata import store
from pipeline.metadata.run_record import read_run

RUN = "20240101-000000-000"


@pytest.fixture
def connection(tmp_path):
    return store.open_store(store.connection_config(str(tmp_path / "metadata.sqlite")))


def add(connection, node, state, artifact=None):
    """Records an execution as TFX does; returns its id."""
    type_id = connection.put_execution_type(mlmd.ExecutionType(name=f"components.{node}"))
    contexts = []
    for kind, name in (("pipeline_run", RUN), ("node", f"demo.{node}")):
        kind_id = connection.put_context_type(mlmd.ContextType(name=kind))
        contexts.append(mlmd.Context(type_id=kind_id, name=name))
    execution = mlmd.Execution(type_id=type_id, last_known_state=state)
    pairs = []
    if artifact:
        event = mlmd.Event(type=mlmd.Event.OUTPUT)
        event.path.steps.add().key = "model"
        event.path.steps.add().index = 0
        pairs.append((artifact, event))
    execution_id, *_ = connection.put_execution(
        execution, pairs, contexts, reuse_context_if_already_exist=True
    )
    return execution_id


def test_components_have_states_and_outputs_in_the_order_in_which_they_ran(connection):
    type_id = connection.put_artifact_type(mlmd.ArtifactType(name="Model"))
    artifact = mlmd.Artifact(type_id=type_id, uri="/models/1")
    artifact.custom_properties["size_bytes"].int_value = 7
    artifact.custom_properties["classes"].string_value = '["cat"]'
    artifact.custom_properties["note"].string_value = "[not JSON"
    add(connection, "Trainer", mlmd.Execution.COMPLETE, artifact)
    add(connection, "Evaluator", mlmd.Execution.CACHED)
    add(connection, "Pusher", mlmd.Execution.FAILED)
    add(connection, "Late", mlmd.Execution.RUNNING)
    run = read_run(connection, RUN)
    assert {name: record.state for name, record in run.items()} == {
        "Trainer": "complete",
        "Evaluator": "cached",
        "Pusher": "failed",
        "Late": "running",
    }
    assert list(run) == ["Trainer", "Evaluator", "Pusher", "Late"]
    model = run["Trainer"].output("model")
    assert (model.type, model.uri) == ("Model", "/models/1")
    assert model.properties == {"size_bytes": 7, "classes": ["cat"], "note": "[not JSON"}
    assert run["Pusher"].output("model") is None
    assert run["Evaluator"].seconds == 0


def test_an_unknown_run_is_an_error_that_names_it(connection):
    connection.put_context_type(mlmd.ContextType(name="pipeline_run"))
    with pytest.raises(UserError, match="'never'"):
        read_run(connection, "never")
