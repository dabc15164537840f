"""The split by hash is stable; the split by lists is the user's."""

import pytest

from pipeline.data.split import hash_side, parse_lists, percent_of, sided_id
from pipeline.errors import UserError


def test_the_side_of_an_id_never_changes():
    # Frozen: a change would move images between train and eval in every user's data.
    # sha256("Abyssinian_100") % 100 is 6, of "é" in UTF-8 it is 88.
    assert hash_side("Abyssinian_100", 7) == "eval"
    assert hash_side("Abyssinian_100", 6) == "train"
    assert hash_side("é", 89) == "eval"
    assert hash_side("é", 88) == "train"


def test_the_share_of_eval_is_what_was_asked_for():
    sides = [hash_side(f"image_{index}", 20) for index in range(5000)]
    assert 0.18 < sides.count("eval") / len(sides) < 0.22


def test_a_larger_eval_share_only_adds_to_eval():
    ids = [f"image_{index}" for index in range(1000)]
    small = {i for i in ids if hash_side(i, 10) == "eval"}
    large = {i for i in ids if hash_side(i, 30) == "eval"}
    assert small < large


@pytest.mark.parametrize(("fraction", "percent"), [(0.2, 20), (0.29, 29), (0.01, 1), (0.99, 99)])
def test_a_fraction_becomes_whole_percent(fraction, percent):
    assert percent_of(fraction) == percent


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.2, 0.125, 20, float("nan")])
def test_an_impossible_eval_fraction_is_rejected(fraction):
    with pytest.raises(UserError, match=r"steps of 0\.01"):
        percent_of(fraction)


def test_lists_may_have_columns_suffixes_and_comments():
    train = "# id class species\nAbyssinian_1 1 1 1\n\nAbyssinian_2.jpg 1 1 1\n"
    assert parse_lists(train, "pug_1\r\npug_2\r\n") == {
        "Abyssinian_1": "train", "Abyssinian_2": "train", "pug_1": "eval", "pug_2": "eval",
    }  # fmt: skip


def test_a_test_list_is_a_third_side():
    assert parse_lists("a", "b", "c.jpg") == {"a": "train", "b": "eval", "c": "test"}
    with pytest.raises(UserError, match="1 in two, among them a"):
        parse_lists("a", "b", "a")
    with pytest.raises(UserError, match="in the test list, one a line"):
        parse_lists("a", "b", "")


def test_an_id_in_both_lists_is_rejected():
    with pytest.raises(UserError, match="1 in two, among them b"):
        parse_lists("a\nb.jpg", "b\nc")


@pytest.mark.parametrize(("train", "eval_"), [("", "a"), ("a", "# nothing\n")])
def test_an_empty_list_is_rejected(train, eval_):
    with pytest.raises(UserError, match="an empty list"):
        parse_lists(train, eval_)


def test_a_side_becomes_part_of_the_id():
    assert sided_id("", "a") == "a"
    assert sided_id("eval", "a") == "eval/a"
