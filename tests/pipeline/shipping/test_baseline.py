import pytest
from tfx.types import standard_artifacts

from pipeline.shipping.baseline import BlessedBeforeStrategy


def model(model_id):
    artifact = standard_artifacts.Model()
    artifact.id = model_id
    return artifact


def blessing(model_id, blessed=1):
    artifact = standard_artifacts.ModelBlessing()
    artifact.set_int_custom_property("blessed", blessed)
    artifact.set_int_custom_property("current_model_id", model_id)
    return artifact


@pytest.mark.parametrize(
    ("candidate", "blessings", "expected"),
    [
        (30, [], None),
        (30, [(10, 1)], 10),
        (30, [(10, 1), (20, 1)], 20),
        (30, [(10, 1), (20, 0)], 10),  # not blessed
        (30, [(10, 1), (20, 1), (30, 1)], 20),  # never with itself
        (20, [(10, 1), (20, 1), (30, 1)], 10),  # an old model, run again
        (10, [(20, 1)], None),
        (30, [(99, 1)], None),  # a blessing whose model is gone
    ],
)
def test_the_last_blessed_model_before_the_candidate(candidate, blessings, expected):
    inputs = {
        "candidate": [model(candidate)],
        "model": [model(30), model(10), model(20)],
        "model_blessing": [blessing(*pair) for pair in blessings],
    }
    result = BlessedBeforeStrategy().resolve_artifacts(None, inputs)
    assert [artifact.id for artifact in result["candidate"]] == [candidate]
    assert [artifact.id for artifact in result["model"]] == ([expected] if expected else [])
    of = [entry.get_int_custom_property("current_model_id") for entry in result["model_blessing"]]
    assert of == ([expected] if expected else [])
