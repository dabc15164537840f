"""Which side an image is on: by a stable hash of its id, or by the user's lists."""

import hashlib

from pipeline.data.labelled_image import image_id_of
from pipeline.errors import UserError

TRAIN, EVAL = "train", "eval"
SIDES = (TRAIN, EVAL)
# Only of a split that the data or the user brings: chooses neither weights nor the verdict.
TEST = "test"
ALL_SIDES = (*SIDES, TEST)
# Names of the user's split lists in the settings and the fingerprint groups.
TRAIN_LIST, EVAL_LIST, TEST_LIST = "train_list", "eval_list", "test_list"


def percent_of(eval_fraction: float) -> int:
    """Returns the share of the eval side in whole percent.

    Raises:
      UserError: when it is not 0.01, 0.02, ... 0.99.
    """
    percent = round(eval_fraction * 100) if 0 < eval_fraction < 1 else 0
    if not 1 <= percent <= 99 or abs(eval_fraction * 100 - percent) > 1e-6:
        raise UserError(
            "Expected an eval_fraction of 0.01 to 0.99 in steps of 0.01. "
            f"Received: {eval_fraction}."
        )
    return percent


def hash_side(image_id: str, eval_percent: int) -> str:
    """Returns "train" or "eval".

    The side depends on the id alone: adding or removing other images does not change it, and a
    larger `eval_percent` only moves images from train to eval.
    """
    digest = hashlib.sha256(image_id.encode("utf-8", "surrogateescape")).hexdigest()
    return EVAL if int(digest, 16) % 100 < eval_percent else TRAIN


def sided_id(side: str, image_id: str) -> str:
    """Returns the id of an image that the user put on a side by folder or shard.

    The side is part of the id, because different pictures may share a name across train and eval
    data. Without a side (an empty string) the id stays as it is.
    """
    return f"{side}/{image_id}" if side else image_id


def parse_lists(train: str, eval_: str, test: str | None = None) -> dict[str, str]:
    """Reads the user's split.

    Args:
      train: text with one image a line, id or file name first. Further columns (as in the
        trainval.txt of Oxford-IIIT Pets), empty lines and lines that start with `#` are ignored.
      eval_: likewise.
      test: likewise; None without a test side.

    Returns:
      The side of every listed image id.

    Raises:
      UserError: when an image is on two sides, or a list is empty.
    """
    listed = {}
    for side, text in zip(ALL_SIDES, (train, eval_, test), strict=True):
        if text is None:
            continue
        lines = [line.split() for line in text.splitlines()]
        ids = {image_id_of(line[0]) for line in lines if line and not line[0].startswith("#")}
        if not ids:
            raise UserError(
                f"Expected image ids in the {side} list, one a line. Received: an empty list. "
                "Fill it, or leave out the lists to split by eval_fraction."
            )
        both = sorted(ids & listed.keys())
        if both:
            raise UserError(
                "Expected every image in one of the split lists. Received: "
                f"{len(both)} in two, among them {', '.join(both[:10])}. Remove them from one."
            )
        listed.update(dict.fromkeys(ids, side))
    return listed
