"""Which inputs are kept, skipped or ignored, and which data is rejected."""

import json

import pytest

from pipeline.data.census import (
    BROKEN_FILE,
    EMPTY_FILE,
    Checked,
    Ignored,
    SplitRule,
    require_usable,
    take_census,
)
from pipeline.data.split import hash_side
from pipeline.errors import UserError

BY_HASH = SplitRule(20)


def good(image_id, sha256=None, side="", file=None, classes=None):
    return Checked(
        file=file or f"{image_id}.xml", image_id=image_id, picture=f"{image_id}.jpg", side=side,
        sha256=sha256 or f"sha-{image_id}", annotation_sha256=f"ann-{image_id}",
        classes={"cat": 1} if classes is None else classes,
    )  # fmt: skip


def bad(image_id, kind="gif"):
    return Checked(file=f"{image_id}.xml", image_id=image_id, kind=kind, reason=f"it is a {kind}")


def many(count):
    return [good(f"image_{index}") for index in range(count)]


def test_an_image_never_changes_sides_when_data_grows():
    before = {item.image_id: side for item, side in take_census(many(50), BY_HASH).kept}
    after = {item.image_id: side for item, side in take_census(many(500), BY_HASH).kept}
    assert before.items() < after.items()
    assert set(before.values()) == {"train", "eval"}


def test_the_first_of_duplicate_ids_is_kept():
    twins = [good("a", file="z.xml"), good("a", "other", file="b.xml"), good("c")]
    census = take_census(twins, BY_HASH)
    assert [item.file for item, _ in census.kept] == ["b.xml", "c.xml"]
    [twin] = census.set_aside
    assert (twin.file, twin.kind) == ("z.xml", "duplicate_id")
    assert "b.xml" in twin.reason


def test_the_reason_of_a_duplicate_is_short():
    long = "x" * 20_000
    census = take_census([good(long, file="a#1"), good(long, file="a#2")], BY_HASH)
    assert len(census.set_aside[0].reason) < 500


def test_an_unusable_twin_does_not_displace_a_usable_one():
    twins = [Checked(file="a.xml", image_id="x", kind="gif", reason="gif"), good("x", file="b.xml")]
    census = take_census(twins, BY_HASH)
    assert [item.file for item, _ in census.kept] == ["b.xml"]


def test_the_users_lists_decide():
    rule = SplitRule(20, {"a": "eval", "b": "train", "gone": "train"})
    census = take_census([good("a"), good("b"), good("c"), bad("d")], rule)
    assert [(item.image_id, side) for item, side in census.kept] == [("a", "eval"), ("b", "train")]
    assert [item.file for item in census.ignored] == ["c.xml", "d.xml"]
    [absent] = census.set_aside
    assert (absent.image_id, absent.kind) == ("gone", "listed_but_absent")


def test_a_broken_file_is_not_excused_by_the_users_lists():
    broken = Checked(file="b.record", kind=BROKEN_FILE, reason="broken after 3 records")
    rule = SplitRule(20, {"a": "eval", "b": "train"})
    census = take_census([good("a"), good("b"), broken], rule)
    assert census.set_aside == (broken,)
    with pytest.raises(UserError, match=r"b\.record, broken after 3 records"):
        require_usable(census, rule, 0.5, "/data")


def test_a_file_without_records_is_ignored_and_listed():
    empty = Checked(file="b.record", kind=EMPTY_FILE, reason="a TFRecord file without records")
    census = take_census([*many(20), empty], BY_HASH)
    assert census.set_aside == ()
    assert census.ignored == (Ignored("b.record", "a TFRecord file without records"),)


def test_given_sides_are_kept_and_leaks_are_counted():
    inputs = [
        good("train/a", "same", "train"), good("train/a2", "same", "train"),
        good("eval/a", "same", "eval"), good("eval/b", side="eval"),
    ]  # fmt: skip
    properties = take_census(inputs, BY_HASH).properties()
    assert (properties["num_train"], properties["num_eval"]) == (2, 2)
    assert properties["leaked_images"] == 1


def test_the_test_side_is_apart_and_its_leaks_count():
    inputs = [
        *many(20), good("test/a", "leak", "test"), good("test/b", side="test"),
        good("train/a", "leak", "train"), good("eval/a", "leak", "eval"),
    ]  # fmt: skip
    census = take_census(inputs, BY_HASH)
    properties = census.properties()
    assert properties["num_test"] == census.count("test") == 2
    assert properties["num_train"] + properties["num_eval"] == 22
    assert properties["leaked_images"] == 1
    assert {side for item, side in census.kept if item.side == "test"} == {"test"}


def test_test_images_alone_are_no_data_to_train_on():
    census = take_census([good("test/a", side="test")], BY_HASH)
    with pytest.raises(UserError, match="0 train, 0 eval"):
        require_usable(census, BY_HASH, 0.01, "here")


def test_the_reports_list_every_input():
    inputs = [good("b", classes={}), good("a"), bad("c"), bad("d"), bad("e", "box_empty")]
    census = take_census(inputs, BY_HASH, [Ignored("x.mat", "not a picture")])
    properties = census.properties()
    assert properties["num_negatives"] == 1
    assert properties["num_set_aside"] == 3
    assert properties["num_ignored"] == 1
    assert json.loads(properties["set_aside_reasons"]) == {"box_empty": 1, "gif": 2}
    lines = {n: [json.loads(x) for x in t.splitlines()] for n, t in census.files().items()}
    assert lines["ignored.jsonl"] == [{"file": "x.mat", "reason": "not a picture"}]
    assert [line["file"] for line in lines["set_aside.jsonl"]] == ["c.xml", "d.xml", "e.xml"]
    assert lines["images.jsonl"][0] == {
        "id": "a", "file": "a.jpg", "split": hash_side("a", 20), "sha256": "sha-a",
        "annotation_sha256": "ann-a", "classes": {"cat": 1},
    }  # fmt: skip
    assert [line["id"] for line in lines["images.jsonl"]] == ["a", "b"]


def test_the_fingerprint_covers_the_content_and_the_split():
    def fingerprint(inputs, rule=BY_HASH):
        return take_census(inputs, rule).properties()["data_fingerprint"]

    inputs = many(20)
    assert fingerprint(inputs) == fingerprint(inputs[::-1])
    assert fingerprint(inputs) == fingerprint([*inputs, bad("x")])
    prints = {
        fingerprint(inputs),
        fingerprint(inputs[1:]),
        fingerprint([good("image_0", "changed"), *inputs[1:]]),
        fingerprint(inputs, SplitRule(60)),
    }
    assert len(prints) == 4


def usable(inputs, max_set_aside=0.01, rule=BY_HASH, ignored=()):
    require_usable(take_census(inputs, rule, ignored), rule, max_set_aside, "/data")


def test_the_run_continues_up_to_the_limit():
    usable([*many(99), bad("x")])
    with pytest.raises(UserError):
        usable([*many(98), bad("x"), bad("y")])
    usable([*many(2), *many(20), bad("x"), bad("y")], max_set_aside=0.2)


def test_beyond_the_limit_the_message_names_the_first_ten():
    with pytest.raises(UserError) as caught:
        usable([*many(30), *(bad(f"x{index:02}") for index in range(12))])
    message = str(caught.value)
    assert "the limit is 0.01" in message
    assert "--set data.max_set_aside=0.29." in message  # 12 of 42
    assert "12 of 42" in message
    assert "max_set_aside" in message
    assert "x09.xml: it is a gif" in message
    assert "x10.xml" not in message


def test_no_limit_is_proposed_when_nothing_is_usable():
    with pytest.raises(UserError, match=r"2 of 2 .* unusable.* Fix or remove them\. The first"):
        usable([bad("x"), bad("y")])


def test_ignored_files_do_not_count_against_the_limit():
    usable(many(30), 0.0, ignored=[Ignored(f"{n}.mat", "not a picture") for n in range(99)])


def test_a_folder_without_annotations_is_rejected():
    with pytest.raises(UserError, match=r"none, but 1 ignored files, such as \S+: "):
        usable([], ignored=[Ignored("a.jpg", "a picture without an annotation")])


def test_a_single_image_leaves_one_side_empty():
    with pytest.raises(UserError, match=r"the eval side is empty.*eval_fraction"):
        usable([good("image_0")])


def test_a_list_without_a_usable_eval_image_is_rejected():
    rule = SplitRule(20, {"image_0": "train", "x": "eval"})
    with pytest.raises(UserError, match="1 train, 0 eval"):
        usable([*many(1), bad("x")], 0.5, rule)


def test_a_missing_eval_folder_is_rejected():
    with pytest.raises(UserError, match="Add images to that side"):
        usable([good("train/a", side="train")])


def test_a_broken_file_stops_the_run_at_any_limit():
    broken = Checked(file="a.record", kind=BROKEN_FILE, reason="broken after 3 records")
    with pytest.raises(UserError, match="broken after 3 records"):
        usable([*many(30), broken], 1.0)
