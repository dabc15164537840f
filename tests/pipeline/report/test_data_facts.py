import io

import imagehash
from PIL import Image

from pipeline.report.data_facts import Seen, near_duplicates
from pipeline.report.pictures import open_picture
from tests.pipeline.tiny_detector import picture


def seen(*rows):
    """Pictures of (split, hash), named by their place."""
    return [Seen(split, str(number), value) for number, (split, value) in enumerate(rows)]


def hash_of(encoded):
    return imagehash.phash(open_picture(encoded, 128))


def test_pairs_across_splits_come_first_then_the_nearest():
    counts, pairs = near_duplicates(
        seen(
            ("train", 0), ("eval", 0b1111), ("train", 0b1), ("eval", 1 << 63), ("train", 2**64 - 1)
        )
    )
    found = [(distance, one.image_id, two.image_id) for distance, one, two in pairs]
    assert found[:2] == [(1, "0", "3"), (2, "2", "3")]
    assert found[-1] == (1, "0", "2")  # within the training split
    assert counts["within"] == 1
    assert counts["across"] == len(found) - 1
    assert counts["held_out"] == 2


def test_pictures_that_are_all_alike_are_counted_and_a_few_are_kept():
    counts, pairs = near_duplicates(seen(*[("train", 7)] * 150, *[("eval", 7)] * 50))
    assert counts == {"across": 7500, "within": 150 * 149 // 2 + 50 * 49 // 2, "held_out": 50}
    assert len(pairs) == 200
    assert all(one.split != two.split for _, one, two in pairs)


def test_nothing_is_near_itself_or_nothing():
    assert near_duplicates([]) == ({"across": 0, "within": 0, "held_out": 0}, [])
    assert near_duplicates(seen(("train", 5)))[1] == []


def test_a_picture_that_was_scaled_and_saved_again_is_near_and_others_are_not():
    original = picture(1, (400, 300))
    again = io.BytesIO()
    Image.open(io.BytesIO(original)).resize((230, 170)).save(again, "JPEG", quality=60)
    assert hash_of(original) - hash_of(again.getvalue()) <= 4
    others = [hash_of(picture(number, (400, 300))) for number in range(2, 30)]
    assert min(hash_of(original) - other for other in others) > 4
