import itertools

import numpy as np
import pytest
import tensorflow as tf

from models.image import decode_and_resize
from models.settings import Augmentation
from models.training import input_pipeline
from models.training.input_pipeline import evaluation_batches, training_batches
from tests.models.helpers import records

AUGMENTATION = Augmentation(
    flip=True,
    crop_probability=0.5,
    zoom_out_probability=0.3,
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
    white_balance=0.1,
)


def batches(**changes):
    options = {
        "input_size": 64,
        "batch_size": 4,
        "max_boxes": 3,
        "augmentation": AUGMENTATION,
        "seed": 1,
        "num_records": 10,
    }
    return training_batches(records(), **(options | changes))


def take(dataset, count):
    """The first batches, flattened: a list of lists of arrays."""
    return [
        [np.asarray(part) for part in tf.nest.flatten(batch)]
        for batch in itertools.islice(dataset, count)
    ]


def assert_same(received, expected):
    for a, b in zip(received, expected, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_shapes_are_static():
    images, targets = batches().element_spec
    assert images == tf.TensorSpec([4, 64, 64, 3], tf.uint8)
    assert targets["boxes"].shape[1:] == (3, 4)
    assert targets["boxes"].dtype == tf.float32
    assert targets["class_ids"].shape[1:] == (3,)
    assert {part.shape[0] for part in targets.values()} == {4}


def test_the_same_seed_gives_the_same_batches():
    assert_same(take(batches(), 4), take(batches(), 4))


def test_another_seed_gives_others():
    (images, *_), (others, *_) = take(batches(), 1)[0], take(batches(seed=2), 1)[0]
    assert not np.array_equal(images, others)


@pytest.mark.parametrize("shuffle_size", [2048, 3])
@pytest.mark.parametrize("start", [1, 7])  # within the first pass, in the third
def test_a_later_start_continues_the_same_sequence(start, shuffle_size, monkeypatch):
    monkeypatch.setattr(input_pipeline, "_SHUFFLE_SIZE", shuffle_size)
    expected = take(batches(), start + 3)[start:]
    received = take(batches(start_step=start), 3)
    assert_same(received, expected)


def test_mosaics_end_before_the_training_does():
    options = {"augmentation": Augmentation(mosaic=0.5), "mosaic_steps": 2}
    mixed, same, single = batches(**options).take(3)
    plain = list(batches(augmentation=Augmentation()).take(3))
    for (images, targets), (others, _) in zip((mixed, same), plain[:2], strict=True):
        assert targets["boxes"].shape == (4, 12, 4)
        assert not np.array_equal(images[:2], others[:2])
        np.testing.assert_array_equal(images[2:], others[2:])
    np.testing.assert_array_equal(single[0], plain[2][0])
    assert single[1]["boxes"].shape == (4, 12, 4)
    np.testing.assert_array_equal(single[1]["boxes"][:, :3], plain[2][1]["boxes"])


def test_every_pass_shows_every_record_in_another_order():
    dataset = batches(batch_size=5)
    order = [targets["image_index"].numpy().tolist() for _, targets in itertools.islice(dataset, 4)]
    first, second = order[0] + order[1], order[2] + order[3]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_batches_go_across_passes_and_are_whole():
    indices = [targets["image_index"] for _, targets in itertools.islice(batches(), 5)]
    assert all(len(index) == 4 for index in indices)
    assert sorted(np.concatenate(indices)) == sorted([*range(10)] * 2)


def test_padding_and_truncation_of_boxes():
    for _, targets in itertools.islice(batches(augmentation=Augmentation(), max_boxes=1), 3):
        real = targets["class_ids"].numpy() >= 0
        np.testing.assert_array_equal(real[:, 0], targets["image_index"].numpy() % 3 > 0)
        assert (targets["boxes"].numpy()[~real] == 0).all()


def test_mirroring_mirrors_boxes_with_their_pixels():
    """Every box of a record is a rectangle of one pure colour, its class's."""
    for images, targets in itertools.islice(batches(augmentation=Augmentation(flip=True)), 5):
        for image, boxes, ids in zip(
            images.numpy(), targets["boxes"].numpy(), targets["class_ids"].numpy(), strict=True
        ):
            last = np.flatnonzero(ids >= 0)[-1:]  # the one that nothing covers
            for box, class_id in zip(boxes[last], ids[last], strict=True):
                ymin, xmin, ymax, xmax = np.round(box * 64).astype(int)
                inside = image[ymin + 2 : ymax - 2, xmin + 2 : xmax - 2].reshape(-1, 3)
                if len(inside):
                    assert (inside[:, class_id] > 250).all()
                    assert (np.delete(inside, class_id, axis=1) < 5).all()


def test_evaluation_shows_every_record_once_as_an_app_sees_it():
    dataset = evaluation_batches(records(), input_size=64, batch_size=4, max_boxes=2)
    received = list(dataset)
    assert [len(images) for images, _ in received] == [4, 4, 2]
    indices = np.concatenate([targets["image_index"] for _, targets in received])
    np.testing.assert_array_equal(indices, np.arange(10))
    record = next(iter(records().skip(5)))
    np.testing.assert_array_equal(received[1][0][1], decode_and_resize(record["encoded"], 64))
    np.testing.assert_allclose(received[1][1]["boxes"][1], record["boxes"])


def with_crowds():
    """The records, each with a crowd behind its objects that covers the picture."""

    def add(record):
        whole, again = tf.constant([[0.0, 0.0, 1.0, 1.0]]), tf.zeros([1], tf.int32)
        crowd = tf.concat([tf.zeros_like(record["class_ids"], tf.bool), [True]], axis=0)
        return record | {
            "boxes": tf.concat([record["boxes"], whole], axis=0),
            "class_ids": tf.concat([record["class_ids"], again], axis=0),
            "crowd": crowd,
            "difficult": tf.zeros_like(crowd),
        }

    return records().map(add)


@pytest.mark.parametrize("mosaic", [0.0, 0.5])
def test_crowds_are_regions_beside_the_objects(mosaic):
    augmentation = AUGMENTATION.model_copy(update={"mosaic": mosaic})
    options = {"input_size": 64, "batch_size": 4, "augmentation": augmentation, "seed": 1,
               "num_records": 10, "mosaic_steps": 100, "max_boxes": 4}  # fmt: skip
    plain = training_batches(records(), **options)
    crowded = training_batches(with_crowds(), **options)
    assert "crowd" not in plain.element_spec[1]
    assert "difficult" not in crowded.element_spec[1]
    assert crowded.element_spec[1]["crowd"].shape[1:] == (16 if mosaic else 4,)
    for (_, without), (_, targets) in zip(plain.take(3), crowded.take(3), strict=True):
        crowd, class_ids = targets["crowd"].numpy(), targets["class_ids"].numpy()
        assert crowd.any(axis=1).all()
        assert (class_ids[crowd] == -1).all()
        areas = np.prod(targets["boxes"][..., 2:] - targets["boxes"][..., :2], axis=-1)
        assert (areas[crowd] > 0).all()
        # They change nothing about the objects, nor about the choice of the views.
        objects, expected = class_ids >= 0, without["class_ids"].numpy() >= 0
        np.testing.assert_array_equal(objects, expected)
        np.testing.assert_array_equal(
            targets["boxes"].numpy()[objects], without["boxes"].numpy()[expected]
        )


def test_evaluation_batches_keep_flags_and_classes():
    [(_, targets)] = evaluation_batches(
        with_crowds(), input_size=64, batch_size=10, max_boxes=5
    )  # fmt: skip
    assert (targets["class_ids"].numpy()[targets["crowd"].numpy()] == 0).all()
    assert targets["crowd"].numpy().sum(axis=1).tolist() == [1] * 10
    assert not targets["difficult"].numpy().any()
