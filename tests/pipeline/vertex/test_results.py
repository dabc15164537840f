from pipeline.vertex.results import TaskResult, component_records


def result(name, started, state="complete", metadata=None):
    artifact = {"name": "a", "uri": "u", "schema_title": "t", "metadata": metadata or {}}
    return TaskResult(name, state, started, started + 2.5, {"output": [artifact]})


def test_records_are_in_the_order_in_which_the_tasks_started():
    records = component_records([result("Trainer", 9.0), result("ExampleGen", 1.0, "cached")])
    assert [(record.id, record.execution_id, record.seconds) for record in records.values()] == [
        ("ExampleGen", 1, 0.0),
        ("Trainer", 2, 2.5),
    ]


def test_records_restore_what_a_protobuf_struct_does_not_keep():
    metadata = {"pushed": 1.0, "score": 0.5, "reasons": '{"small": 2}', "note": "[not JSON"}
    record = component_records([result("Pusher", 0.0, metadata=metadata)])["Pusher"]
    properties = record.output("output").properties
    expected = {"pushed": 1, "score": 0.5, "reasons": {"small": 2}, "note": "[not JSON"}
    assert properties == expected
    assert isinstance(properties["pushed"], int)
