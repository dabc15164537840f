"""The data: what is in each split, what was left out, and which pictures are nearly the same."""

import collections
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import imagehash
import numpy as np
from tfx import types
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from pipeline.data.raw_example import LabelledPicture, labelled_pictures
from pipeline.data.split import TRAIN
from pipeline.files import IGNORED_FILE, IMAGES_FILE, SKIPPED_FILE
from pipeline.report.pictures import Budget, open_picture, to_data_uri

# A perceptual hash looks at 32 x 32 pixels.
_HASH_SIDE = 128
# Of 64 bits. Measured on 200 photographs of pets and 800 drawn pictures: none of two that are
# different to the eye is nearer than 8; the same photograph, scaled or saved again, differs by 0
# to 4.
_NEAR = 4
_MOST_PAIRS, _KEPT_PAIRS, _SHOWN_PAIRS = 200, 10_000, 12
_ONES = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)
_SIDE = 160
_LISTED = 100
# Edges of the histograms; ratios are logarithms.
_SIDES = np.linspace(0, 1, 21)
_RATIOS = np.linspace(-3, 3, 25)


class Seen(NamedTuple):
    """What is kept of a picture that was looked at.

    Attributes:
      split: of the picture.
      image_id: of the picture.
      hash: 64 bits, perceptual.
    """

    split: str
    image_id: str
    hash: int


def data_facts(examples: types.Artifact, max_images: int) -> dict[str, Any]:
    """Facts about raw Examples, as JSON.

    Args:
      examples: the ExampleGen's.
      max_images: of each split, as many pictures are looked at for boxes and near-duplicates;
        images, objects and what was left out are counted for all.

    Returns:
      {splits: {split: {images, negatives, objects: {class: number}}}, left_out: [{file, reason}],
      ignored: likewise, num_left_out, num_ignored, boxes: {edges: {side, ratio}, splits: {split:
      {side, ratio}}}, looked_at, num_duplicates: see `near_duplicates`, duplicates: [{distance,
      pictures: [[split, id], [split, id]], jpegs: None}]}; see `show_pairs`.
    """
    seen, boxes = [], {}
    for split in artifact_utils.decode_split_names(examples.split_names):
        pictures = labelled_pictures(examples, split, max_images)
        in_split, boxes[split] = _look_at(split, pictures)
        seen += in_split
    num_duplicates, pairs = near_duplicates(seen)
    left_out, ignored = (_lines(examples.uri, name) for name in (SKIPPED_FILE, IGNORED_FILE))
    return {
        "splits": _splits(_lines(examples.uri, IMAGES_FILE)),
        "num_left_out": len(left_out),
        "left_out": [_pick(line, "file", "reason") for line in left_out[:_LISTED]],
        "num_ignored": len(ignored),
        "ignored": [_pick(line, "file", "reason") for line in ignored[:_LISTED]],
        "boxes": {"edges": {"side": _SIDES.tolist(), "ratio": _RATIOS.tolist()}, "splits": boxes},
        "num_duplicates": num_duplicates,
        "duplicates": [
            {
                "distance": distance,
                "jpegs": None,
                "pictures": [[one.split, one.image_id], [two.split, two.image_id]],
            }
            for distance, one, two in pairs
        ],
        "looked_at": len(seen),
    }


def _lines(uri: str, name: str) -> list[dict[str, Any]]:
    with fileio.open(os.path.join(uri, name), "r") as file:
        return [json.loads(line) for line in file.read().splitlines()]


def _pick(line: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: line[name] for name in names}


def _splits(images: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    splits: dict[str, Any] = {}
    for image in images:
        split = splits.setdefault(
            image["split"], {"images": 0, "negatives": 0, "objects": collections.Counter()}
        )
        split["images"] += 1
        split["negatives"] += not image["classes"]
        split["objects"].update(image["classes"])
    return {split: splits[split] for split in sorted(splits, key=_order)}


def _order(split: str) -> tuple[bool, str]:
    """Training first."""
    return split != TRAIN, split


def _look_at(split: str, pictures: Iterable[LabelledPicture]) -> tuple[list[Seen], dict[str, Any]]:
    """Perceptual hashes; the boxes' sizes and shapes as shares of all boxes.

    `side` is the square root of a box's share of the picture, counted between `_SIDES`; `ratio` is
    the logarithm to base 2 of its width / height, between `_RATIOS`, as the network sees it: in a
    picture that was made square.
    """
    seen, sides, ratios = [], [], []
    for picture in pictures:
        image = open_picture(picture.encoded, _HASH_SIDE)
        bits = imagehash.phash(image).hash.ravel()
        seen.append(Seen(split, picture.image_id, int("".join("01"[int(bit)] for bit in bits), 2)))
        height, width = (picture.boxes[:, 2:] - picture.boxes[:, :2]).T
        sides.append(np.sqrt(height * width))
        ratios.append(np.log2(width / height))
    return seen, {"side": _shares(sides, _SIDES), "ratio": _shares(ratios, _RATIOS)}


def _shares(values: Sequence[np.ndarray], edges: np.ndarray) -> list[float]:
    values = np.clip(np.concatenate([[], *values]), edges[0], edges[-1])
    counts, _ = np.histogram(values, edges)
    return [round(float(count) / max(len(values), 1), 4) for count in counts]


def near_duplicates(seen: Sequence[Seen]) -> tuple[dict[str, int], list[tuple[int, Seen, Seen]]]:
    """Pairs whose hashes differ in at most 4 of 64 bits.

    Returns:
      How many there are: {across, within} splits, and `held_out`: how many pictures outside of the
      training split have one in it. And the first 200 pairs, those across splits first, then the
      nearest. Pictures of one id, in two splits, count.
    """
    hashes = np.array([each.hash for each in seen], np.uint64)
    splits = np.array([each.split for each in seen], object)
    learned, leaked = splits == TRAIN, np.zeros(len(seen), bool)
    counts, pairs = {"across": 0, "within": 0}, []
    for index in range(len(seen) - 1):
        distances = _bit_counts(hashes[index + 1 :] ^ hashes[index])
        near = index + 1 + np.flatnonzero(distances <= _NEAR)
        across = splits[near] != splits[index]
        counts["across"] += int(across.sum())
        counts["within"] += int((~across).sum())
        if learned[index]:
            leaked[near] = True
        elif learned[near].any():
            leaked[index] = True
        nearest = near[np.lexsort((distances[near - index - 1], ~across))][:_MOST_PAIRS]
        pairs += [(int(distances[n - index - 1]), seen[index], seen[n]) for n in nearest]
        if len(pairs) > _KEPT_PAIRS:  # frames of one film are all alike
            pairs = _best(pairs)
    return counts | {"held_out": int((leaked & ~learned).sum())}, _best(pairs)


def _best(pairs: list[tuple[int, Seen, Seen]]) -> list[tuple[int, Seen, Seen]]:
    ranked = sorted(pairs, key=lambda pair: (pair[1].split == pair[2].split, pair[0]))
    return ranked[:_MOST_PAIRS]


def _bit_counts(values: np.ndarray) -> np.ndarray:
    """How many of the 64 bits of each value are 1."""
    return _ONES[values.view(np.uint16).reshape(-1, 4)].sum(axis=1)


def show_pairs(
    pairs: Sequence[dict[str, Any]], examples: types.Artifact, max_images: int, budget: Budget
) -> None:
    """Gives the first pairs their `jpegs`, two data URIs each, as the budget allows.

    Args:
      pairs: `duplicates` of `data_facts`.
      examples: likewise.
      max_images: likewise.
      budget: of all of them.
    """
    pairs = pairs[:_SHOWN_PAIRS]
    wanted = {tuple(picture) for pair in pairs for picture in pair["pictures"]}
    jpegs = {}
    for split in {split for split, _ in wanted}:
        for picture in labelled_pictures(examples, split, max_images):
            if (split, picture.image_id) in wanted:
                image = open_picture(picture.encoded, _SIDE)
                jpegs[split, picture.image_id] = to_data_uri(image, _SIDE)
    for pair in pairs:
        both = [jpegs[tuple(picture)] for picture in pair["pictures"]]
        if budget.spend(*both):
            pair["jpegs"] = both
