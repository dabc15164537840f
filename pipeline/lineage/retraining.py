"""How to train again without the images that somebody withdraws."""

import dataclasses
import os
import shlex
from collections.abc import Iterable

from pipeline.data.split import ALL_SIDES, TEST, parse_lists
from pipeline.errors import UserError
from pipeline.files import write_whole
from pipeline.lineage.backend import Backend
from pipeline.lineage.fate import origins
from pipeline.lineage.images import recorded_images
from pipeline.lineage.impact import ITSELF, Impact
from pipeline.lineage.training import Training, followed, recorded, trainings_of_models
from pipeline.metadata.records import NodeId

_RUNNER = "local_runner.py"
# Flags that name places: the run may have been started in another folder.
_PLACES = ("--workdir", "--data", "--train", "--eval", "--test", "--schema", "--warm-start",
           "--push-to", "--metadata")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Retraining:
    """How to repeat a training without some images.

    Attributes:
      run: the run to repeat.
      arguments: of local_runner.py, but for the lists of images.
      ids: of the images that remain, by split; None if the images were not in its data.
      obstacle: why lists cannot leave the images out, with what to do; None if they can.
    """

    run: str
    arguments: list[str]
    ids: dict[str, list[str]] | None
    obstacle: str | None

    def command(self, lists: str | None) -> list[str]:
        """The command's words, without Python; `lists` is the folder of `write_lists`."""
        sides = [f"--{side}={_list(lists, side)}" for side in self.ids or () if lists]
        return [_RUNNER, *self.arguments, *sides]

    def write_lists(self, folder: str) -> None:
        """Writes the ids that remain, a file for each split.

        Raises:
          UserError: the folder cannot be written.
        """
        try:
            os.makedirs(folder, exist_ok=True)
            for side, ids in (self.ids or {}).items():
                write_whole(_list(folder, side), "".join(f"{key}\n" for key in ids))
        except OSError as error:
            raise UserError(
                f"Expected a folder to write lists to. Received: {folder} ({error.strerror})."
            ) from error


def _list(folder: str, side: str) -> str:
    return os.path.join(folder, f"{side}.txt")


def retraining(backend: Backend, answers: Iterable[Impact]) -> Retraining | None:
    """How to repeat, without the images, the training that matters most: the latest version's.

    Args:
      backend: the store.
      answers: about images.

    Returns:
      None if no model has seen them, or the run is none of local_runner.py that recorded its
      command and configuration.
    """
    answers = list(answers)
    contents = {s.image.get("sha256") for answer in answers for s in answer.sightings} - {None}
    ways = {model: way for answer in answers for model, way in answer.ways.items()}
    if not contents or not ways:
        return None
    training = trainings_of_models(backend, [_most_important(answers[0], ways)])[0]
    run = training.run
    config = recorded(backend, run, "configuration")
    command = shlex.split(run.facts.get("command") or "") if run else []
    if not config or not command or os.path.basename(command[0]) != _RUNNER:
        return None
    images = recorded_images(backend.record, training.examples[0]) if training.examples else None
    ids = {
        side: [key for key, image in (images or {}).items()
               if image["split"] == side and image["sha256"] not in contents]
        for side in ALL_SIDES
    }  # fmt: skip
    if not ids[TEST]:
        del ids[TEST]
    is_listed = any(image["sha256"] in contents for image in (images or {}).values())
    base = _untouched_base(backend, training, ways)
    return Retraining(
        run=run.name,
        arguments=_arguments(backend, command[1:], config, training, base, is_listed),
        ids=ids if is_listed else None,
        obstacle=_obstacle(config, images, ids) if is_listed or images is None else None,
    )


def _most_important(answer: Impact, ways: dict[NodeId, str]) -> NodeId:
    versions = [version for version in answer.versions if version.model in ways]
    versions.sort(key=lambda version: not version.push.is_latest)  # the newest are first already
    return versions[0].model if versions else max(ways)


def _untouched_base(backend: Backend, training: Training, ways: dict[NodeId, str]) -> str | None:
    """The weights to begin from: those that the first touched model in the chain began from.

    None if the training began from no model that was touched: its own weights will do.
    """
    first = training
    while base := first.warm_start:
        model = origins(backend, [base])[base.id][1]
        if model not in ways or ways[model] == ITSELF:
            break
        first = trainings_of_models(backend, [model])[0]
    if first is training:
        return None
    settings = recorded(backend, first.run, "configuration") or first.settings
    return followed(backend, first.run, first.model, settings["warm_start"]["weights"])


def _arguments(
    backend: Backend,
    given: list[str],
    config,
    training: Training,
    base: str | None,
    has_new_lists: bool,
) -> list[str]:
    """The run's own arguments, with places as absolute paths where they are now."""
    places = {
        "--workdir": os.path.dirname(config["execution"]["pipeline_root"]),
        "--data": config["data"]["path"],
        "--train": config["data"]["train"],
        "--eval": config["data"]["eval"],
        "--test": config["data"].get("test", ""),
        "--schema": config["schema_dir"],
        "--warm-start": config["warm_start"]["weights"] if base is None else base,
        "--push-to": config["push"]["destination"],
    }
    run, model = training.run, training.model
    places = {flag: followed(backend, run, model, place) for flag, place in places.items()}
    places["--metadata"] = backend.location
    named, rest = set(), []
    words = iter(given)
    for word in words:
        flag, equals, _ = word.partition("=")
        if flag not in _PLACES:
            rest.append(word)
            continue
        named.add(flag)
        if not equals:
            next(words, None)
    if places["--workdir"] != os.path.abspath("workdir"):  # the default, perhaps of another folder
        named.add("--workdir")
    if not named & {"--data", "--train"}:  # the demo's pictures
        rest += [] if "--preset" in rest else ["--preset", str(run.facts.get("preset"))]
    if places["--schema"]:  # a preset's, which other data would not have
        named.add("--schema")
    if config["data"]["path"]:
        named |= {"--data"}
        named -= {"--train", "--eval", "--test"} if has_new_lists else set()
    named |= {"--warm-start"} if base is not None else set()
    return rest + [f"{flag}={places[flag]}" for flag in _PLACES if flag in named]


def _obstacle(config, images, ids: dict[str, list[str]]) -> str | None:
    if images is None:
        return "the list of its images is gone or changed; take the pictures out of its data"
    if not config["data"]["path"]:
        return "its data are two data sets; take the pictures out of them"
    texts = ["\n".join(keys) for keys in ids.values()]
    try:
        sides = parse_lists(*texts)
    except UserError:
        return "no image would remain in one of the splits; add some"
    if sides != {key: side for side, keys in ids.items() for key in keys}:
        return "no list can name images with spaces in their ids; take the pictures out of its data"
    return None
