import numpy as np
import pytest

from pipeline import presets
from pipeline.config import override
from pipeline.recipe import choose_recipe

LARGE, SMALL = np.full(300, 0.4, np.float32), np.full(300, 0.05, np.float32)
# As a COCO detector's file and a classifier's describe themselves.
COCO = {
    "family": "ssd",
    "depth_multiplier": 0.75,
    "extra_depth_multiplier": 0.75,
    "head_kernel_size": 1,
    "min_scale": 0.2,
    "max_scale": 0.95,
}
IMAGENET = {"depth_multiplier": 0.25}


def choose(given=None, sizes=LARGE, **known):
    seen = {"num_images": 200, "num_training": 160, "box_sizes": {"cell": sizes}}
    return choose_recipe(given or {}, **({"cores": 2} | seen | known))


def config_of(recipe, given=None):
    return override(presets.load(recipe.preset), {**recipe.settings, **(given or {})})


@pytest.mark.parametrize(
    ("small", "family", "preset"),
    [
        (0, "ssd", "small_data_cpu"),
        (29, "ssd", "small_data_cpu"),
        (31, "ssd_fpn", "small_objects_cpu"),
    ],
)
def test_a_tenth_of_small_objects_asks_for_a_pyramid(small, family, preset):
    recipe = choose(sizes=np.concatenate([SMALL[:small], LARGE[small:]]))
    assert recipe.preset == preset
    assert config_of(recipe).model.family == family
    expected = (
        f"{small / 3:.0f}% of 300 objects in 200 images are smaller than 8% of the image's side"
    )
    assert recipe.reasons[0] == f"family {family}: {expected}"


def test_a_class_of_small_objects_asks_for_a_pyramid_however_few_they_are():
    few = {"cell": LARGE, "platelet": SMALL[:10], "dust": SMALL[:4]}
    recipe = choose(box_sizes=few)
    assert recipe.preset == "small_objects_cpu"
    assert "100% of the objects of class platelet are smaller than 8%" in recipe.reasons[0]
    half = np.concatenate([SMALL[:4], LARGE[:6]])
    assert choose(box_sizes={"cell": LARGE, "platelet": half}).preset == "small_data_cpu"


def test_tiny_objects_get_more_pixels_and_smaller_batches():
    def chosen(share, given=None, **known):
        sizes = np.concatenate([SMALL[: int(100 * share)], LARGE[: int(100 - 100 * share)]])
        recipe = choose(given, sizes=sizes, **known)
        config = config_of(recipe, given)
        return config.model.input_size, config.training.batch_size, config.transform.canvas_size

    assert chosen(0.6) == chosen(0.6, weights=COCO) == (448, 16, 512)
    assert chosen(0.4) == (320, 32, 384)  # a pyramid, but most objects are large
    assert chosen(0.6, num_training=8) == (448, 16, 512)
    # What is given is not contradicted.
    assert chosen(0.6, {"model.input_size": 256}) == (256, 32, 384)
    assert chosen(0.6, {"transform.canvas_size": 400}) == (320, 32, 400)
    assert chosen(0.6, {"training.batch_size": 8}) == (320, 8, 384)
    assert chosen(0.6, {"model.family": "ssd"}) == (300, 32, 384)
    assert "smaller than 6%" in choose(sizes=SMALL).reasons[1]


def test_images_without_objects_are_known_to_have_none():
    assert choose(box_sizes={}).preset == "small_data_cpu"


def test_the_weights_of_a_detector_decide_the_network():
    model = config_of(choose(weights=COCO)).model
    assert (model.depth_multiplier, model.head_kernel_size, model.min_scale) == (0.75, 1, 0.2)


def test_small_objects_take_only_the_backbone_of_an_ssd():
    config = config_of(choose(sizes=SMALL, weights=COCO))
    assert (config.model.family, config.model.depth_multiplier) == ("ssd_fpn", 0.75)
    assert config.training.frozen_blocks == 5


def test_a_pyramid_that_is_given_stays_one():
    weights = {"family": "ssd_fpn", "depth_multiplier": 1.0, "pyramid.depth": 32}
    config = config_of(choose(weights=weights))
    assert (config.model.family, config.model.pyramid.depth) == ("ssd_fpn", 32)


def test_the_weights_of_a_classifier_decide_its_depth():
    assert config_of(choose(weights=IMAGENET)).model.depth_multiplier == 0.25


@pytest.mark.parametrize(
    ("images", "cores", "steps"),
    [(16, 2, 600), (160, 2, 1440), (800, 2, 1800), (600, 8, 5400), (800, 64, 6000)],
)
def test_steps_grow_with_images_up_to_what_the_cores_can_do(images, cores, steps):
    recipe = choose(num_training=images, cores=cores)
    training = config_of(recipe).training
    assert training.steps == steps
    assert training.quantization_delay == int(training.steps * 0.75)


def test_a_pyramid_whose_steps_take_longer_gets_fewer():
    assert config_of(choose(num_training=800, sizes=SMALL)).training.steps == 1200


def test_a_batch_is_no_larger_than_the_training_images():
    assert config_of(choose(num_training=31)).training.batch_size == 16
    assert config_of(choose(num_training=7)).training.batch_size == 16
    assert config_of(choose(num_training=32)).training.batch_size == 32


def test_what_is_given_stays_and_the_rest_follows():
    given = {"training.steps": "100", "model.family": "ssd", "model.depth_multiplier": "0.5"}
    recipe = choose(given, sizes=SMALL, weights=COCO)
    config = config_of(recipe, given)
    assert recipe.preset == "small_data_cpu"
    assert (config.training.steps, config.training.quantization_delay) == (100, 75)
    assert config.training.warmup_steps == 10
    assert not set(given) & set(recipe.settings)


def test_steps_are_multiples_of_an_execution():
    given = {"training.steps_per_execution": "7"}
    training = config_of(choose(given), given).training
    assert training.steps == 1435
    assert (training.quantization_delay % 7, training.eval_every % 7) == (0, 0)


def test_with_minutes_the_steps_are_planned_later():
    assert "training.steps" not in choose({"training.minutes": 20.0}).settings


def test_nothing_known_is_enough_to_check_a_command_line():
    recipe = choose_recipe({"training.batch_size": "nonsense"}, cores=2)
    assert recipe.preset == "small_data_cpu"
    assert recipe.reasons[0] == "family ssd: no objects are known yet"


def test_when_everything_is_given_the_second_line_says_so():
    given = {"training.batch_size": "8", "training.minutes": 20}
    assert choose(given).lines()[1].startswith("chosen: no other settings (by the weights")


def test_two_lines_say_what_to_give_to_get_the_same():
    weights = {"family": "ssd_fpn", "pyramid.anchor_ratios": [1.0, 2.0]}
    first, second = choose(weights=weights).lines()
    assert first.startswith(
        "chosen: --preset small_objects_cpu (family ssd_fpn: 0% of 300 objects "
    )
    assert "model.pyramid.anchor_ratios='[1.0,2.0]'" in second
    assert second.endswith("(by the weights, the images and 2 cores)")


TPU = {"accelerator": "tpu-v5e-8", "replicas": 8, "cores": 224}
GPU = {"accelerator": "gpu-t4", "replicas": 1, "cores": 16}


@pytest.mark.parametrize(
    ("machine", "images", "batch_size", "steps"),
    [
        ({"cores": 2}, 2000, 32, 1800),
        (TPU, 160, 32, 1440),  # as on a CPU that has the time
        (TPU, 600, 32, 5400),
        (TPU, 1200, 64, 5400),
        (TPU, 10_000, 128, 22_500),
        (TPU, 100_000, 128, 25_000),
        (GPU, 160, 32, 1440),
        (GPU, 2000, 32, 18_000),
        (GPU, 100_000, 32, 25_000),
    ],
)
def test_an_accelerator_is_limited_by_no_cores_and_shares_larger_batches(
    machine, images, batch_size, steps
):
    recipe = choose(num_training=images, **machine)
    training = config_of(recipe).training
    assert (training.batch_size, training.steps) == (batch_size, steps)
    name = machine.get("accelerator", "2 cores")
    assert recipe.lines()[1].endswith(f"(by the weights, the images and {name})")


def test_tiny_objects_get_larger_batches_where_these_cost_nothing():
    assert config_of(choose(sizes=SMALL, num_training=2000, **GPU)).training.batch_size == 32
    assert config_of(choose(sizes=SMALL, num_training=160, **TPU)).training.batch_size == 16


def test_an_accelerator_leaves_what_is_given():
    given = {"training.batch_size": "8", "training.steps": "50"}
    training = config_of(choose(given, num_training=100_000, **TPU), given).training
    assert (training.batch_size, training.steps, training.quantization_delay) == (8, 50, 37)
    minutes = {"training.minutes": 20}
    assert "training.steps" not in choose(minutes, num_training=10_000, **TPU).settings


def test_data_that_nobody_has_looked_at_get_the_schedule_of_the_preset():
    chosen, preset = config_of(choose_recipe({}, cores=2)), presets.load("small_data_cpu")
    assert chosen.training.model_copy(update={"eval_every": 50}) == preset.training
