import pytest

from pipeline.config import PipelineConfig, flatten, override, parse_assignments
from pipeline.errors import UserError
from pipeline.settings import ExecutionSettings

CONFIG = PipelineConfig(name="test")


def value_of(config, name):
    return config.flat()[name]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("training.steps", "2500", 2500),
        ("training.learning_rate", "0.5", 0.5),
        ("training.learning_rate", "1", 1.0),
        ("training.learning_rate", "1e-3", 0.001),
        ("augmentation.flip", "true", True),
        ("post_processing.regular_nms", "false", False),
        ("model.min_scale", "null", None),
        ("model.min_scale", "0.1", 0.1),
        ("evaluation.min_map50", "0.8", 0.8),
        ("model.head_kernel_size", "3", 3),
        ("training.optimizer", "adam", "adam"),
        ("quantization", "none", "none"),
        ("data.path", "/data/2024", "/data/2024"),
        ("data.path", "2024", "2024"),
        ("schema_dir", "null", "null"),
        ("execution.beam_args", '["--runner=X"]', ("--runner=X",)),
    ],
)
def test_text_becomes_what_the_setting_is(name, text, expected):
    received = value_of(override(CONFIG, {name: text}), name)
    assert received == expected
    assert type(received) is type(expected)


def test_the_original_stays_as_it_is():
    override(CONFIG, {"training.steps": "2500"})
    assert CONFIG.training.steps == 2000


def test_every_setting_can_be_overridden_by_its_own_value():
    assert override(CONFIG, CONFIG.flat()) == CONFIG


@pytest.mark.parametrize(
    ("name", "siblings"),
    [
        ("training.stepz", ["steps", "batch_size", "learning_rate"]),
        ("augmentation.rotate", ["flip", "brightness"]),
    ],
)
def test_an_unknown_setting_lists_its_siblings(name, siblings):
    with pytest.raises(UserError) as error:
        override(CONFIG, {name: "1"})
    message, section = str(error.value), name.partition(".")[0]
    assert repr(name) in message
    assert all(f"{section}.{sibling}" in message for sibling in siblings)
    assert "device.num_images" not in message


@pytest.mark.parametrize("name", ["nonsense.steps", "training.steps.more"])
def test_an_unknown_section_lists_everything(name):
    with pytest.raises(UserError, match=r"training\.steps.*transform\.canvas_size"):
        override(CONFIG, {name: "1"})


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("training.steps", "many", r"training\.steps: Expected a valid integer.*'many'"),
        ("training.steps", "2.5", r"training\.steps: .*2\.5"),
        ("training.steps", "true", r"training\.steps: "),
        ("training.steps", "0", r"training\.steps: Expected greater than or equal to 1"),
        ("training.learning_rate", "fast", r"training\.learning_rate: .*'fast'"),
        ("training.learning_rate", "NaN", r"training\.learning_rate: "),
        ("training.learning_rate", "Infinity", r"training\.learning_rate: "),
        ("augmentation.flip", "perhaps", r"augmentation\.flip: .*'perhaps'"),
        ("training.optimizer", "lion", r"training\.optimizer: Expected 'momentum' or 'adam'"),
        ("model.head_kernel_size", "2", r"model\.head_kernel_size: Expected 1 or 3"),
        ("quantization", "half", r"quantization: .*'aware'.*'half'"),
        ("evaluation.min_map50", "85", r"evaluation\.min_map50: .*85"),
        ("name", "My Pipeline", r"name: .*'My Pipeline'"),
    ],
)
def test_a_value_that_does_not_fit_says_what_would(name, text, complaint):
    with pytest.raises(UserError, match=complaint) as error:
        override(CONFIG, {name: text})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("assignments", "names"),
    [
        ({"transform.canvas_size": 100}, ["transform.canvas_size (100)", "model.input_size (300)"]),
        ({"training.steps": 1800}, ["quantization_delay (1800)", "training.steps (1800)"]),
        ({"training.warmup_steps": 2000}, ["training.warmup_steps (2000)"]),
        ({"training.steps_per_execution": 7}, ["training.steps (2000)", "steps_per_execution (7)"]),
        (
            {"training.steps_per_execution": 100, "training.quantization_delay": 1750},
            ["training.quantization_delay (1750)"],
        ),
        ({"data.train": "train.txt"}, ["data.train and data.eval go together"]),
        ({"model.min_scale": 0.96}, ["model.min_scale (0.96)", "model.max_scale (0.95)"]),
    ],
)
def test_settings_that_contradict_each_other_are_named(assignments, names):
    with pytest.raises(UserError) as error:
        override(CONFIG, assignments)
    assert all(name in str(error.value) for name in names), str(error.value)


def test_a_delay_matters_only_when_quantization_is_aware():
    changes = {"training.steps": 500, "training.eval_every": 250}
    assert override(CONFIG, {**changes, "quantization": "none"}).training.steps == 500
    several = {"training.steps_per_execution": 50, "training.quantization_delay": 33}
    override(CONFIG, {**changes, **several, "quantization": "post_training"})


def test_flattening():
    assert flatten({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a.b": 1, "a.c.d": 2, "e": 3}


def test_assignments_split_at_the_first_equals_sign():
    assert parse_assignments(["a.b=c=d", "e= f "]) == {"a.b": "c=d", "e": "f"}


@pytest.mark.parametrize("pair", ["training.steps", "=5", ""])
def test_an_assignment_without_a_value_is_refused(pair):
    with pytest.raises(UserError, match=r"Expected --set section\.key=value"):
        parse_assignments([pair])


FOR_USERS = {"beam_args", "record_host_and_user"}


@pytest.mark.parametrize("key", sorted({*ExecutionSettings.model_fields} - FOR_USERS))
def test_what_the_runner_fills_in_can_not_be_set(key):
    with pytest.raises(UserError, match=rf"execution\.{key}, which the runner fills in"):
        parse_assignments([f"execution.{key}=x"])


@pytest.mark.parametrize("key", sorted(FOR_USERS))
def test_the_execution_settings_of_users_can_be_set(key):
    assert parse_assignments([f"execution.{key}=[]"]) == {f"execution.{key}": "[]"}


def test_every_setting_says_what_it_is():
    for section in PipelineConfig.model_fields:
        group = getattr(CONFIG, section)
        for name, field in getattr(type(group), "model_fields", {}).items():
            assert field.description, f"{section}.{name}"
