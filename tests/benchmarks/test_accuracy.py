import numpy as np
import pytest

from benchmarks.accuracy import Result, folds, table, write_lists
from tests.pipeline.data_samples import (
    CAT,
    Sample,
    VocFolder,
    picture,
    write_coco,
    write_voc,
    write_yolo,
)

IDS = [f"image_{number}" for number in range(10)]


def test_folds_are_a_partition_of_equal_parts_whatever_the_order_of_the_ids():
    dealt = folds(IDS, 3)
    assert sorted(name for fold in dealt for name in fold) == sorted(IDS)
    assert sorted(map(len, dealt)) == [3, 3, 4]
    assert folds(reversed(IDS), 3) == dealt


@pytest.mark.parametrize("write", [write_voc, write_coco, write_yolo])
def test_no_image_is_trained_on_in_the_fold_that_judges_it(tmp_path, write):
    pictures = [
        Sample(name, picture(seed), [CAT], ("train", "val")[seed % 2])
        for seed, name in enumerate(IDS)
    ]
    pictures.append(Sample("kept_for_the_end", picture(99), [CAT], "test"))
    write(tmp_path / "data", pictures)
    write_lists(tmp_path / "data", tmp_path / "folds", 3)
    for fold in range(3):
        train, held_out = (
            set(read_lines(tmp_path / "folds" / f"{side}_{fold}.txt")) for side in ("train", "eval")
        )
        assert not train & held_out
        assert train | held_out == set(IDS)


def read_lines(path):
    return path.read_text().splitlines()


def test_too_few_images_are_counted(tmp_path):
    VocFolder(tmp_path / "data").fill(2)
    with pytest.raises(SystemExit, match=r"at least 3 usable images\. Received: 2"):
        write_lists(tmp_path / "data", tmp_path / "folds", 3)


def test_the_table_has_mean_spread_extremes_and_the_weakest_class():
    rows = [
        Result(0.8, 0.5, {"cat": 0.7, "dog": 0.9}, 1_000_000, 4.0, 600.0),
        Result(0.9, 0.6, {"cat": np.nan, "dog": 0.8}, 1_000_000, 6.0, 600.0),
    ]
    line = table({"coco": rows}).splitlines()[-1]
    for part in ("0.850 ± 0.050", "0.800..0.900", "0.550 ± 0.050", "1.00", "10.0", "cat 0.700"):
        assert part in line
