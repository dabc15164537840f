"""The campaign's steps, and what must hold after each."""

import collections
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.lineage import open_backend
from tests.campaign import processes
from tests.campaign.notes import Notes, Training, sha256_of
from tests.campaign.pictures import Pictures
from tests.campaign.questions import ask_everything, damage_found, served
from tests.pipeline.lineage.small_runs import SETTINGS

_EXIT_INTERRUPTED = 130
# Parts of a workdir whose loss a run has to survive.
_ARTIFACTS = ("ExampleGen", "Transform", "Trainer", "TFLiteRewriter", "Evaluator")
# Where runs are stopped: evenly among components, however long they take.
_STOPS = ("ExampleGen", "StatisticsGen", "SchemaGen", "Transform", "Trainer", "TFLiteRewriter",
          "DeviceCheck", "Evaluator", "Pusher", "Report")  # fmt: skip


class Campaign:
    """Real runs in one workdir, which it kills, damages, moves and asks.

    Args:
      folder: an empty one.
      seed: the same seed takes the same steps, as far as the clock allows.
      say: takes progress lines.
    """

    def __init__(self, folder: Path, seed: int, say: Callable[[str], None]):
        self.folder, self.say = folder, say
        self.chance = random.Random(seed)
        self.pictures = Pictures(folder / "voc", self.chance)
        self.notes = Notes()
        self.workdir = folder.resolve() / "work_0"
        self.counts: collections.Counter[str] = collections.Counter()
        self.problems: list[str] = []
        self._copies: list[tuple[Path, Training]] = []
        self._step = 0
        self._training = self._new_training()

    def go(self, minutes: float) -> None:
        """Takes every kind of step once, and again until so many minutes have passed."""
        end = time.monotonic() + 60 * minutes
        steps = (self.train, self.train_again, self.refuse, self.kill, self.interrupt,
                 self.damage, self.damage_pushed, self.move, self.fill_disk)  # fmt: skip
        self._take(self.train)
        order = self.chance.sample(steps, len(steps))
        while order or time.monotonic() < end:
            order = order or self.chance.sample(steps, len(steps))
            self._take(order.pop())

    def _take(self, step: Callable[[], str]) -> None:
        self._step += 1
        self.counts[step.__name__] += 1
        said = step()
        wrong = len(self.problems)
        self._check_served()
        self._ask()
        outcome = "" if wrong == len(self.problems) else "  <- WRONG"
        self.say(f"{self._step:4} {step.__name__}: {said}{outcome}")

    # The steps. Each says what it did.

    def train(self) -> str:
        """A new training: another seed, often other pictures, sometimes a warm start."""
        changes = [self.pictures.change() for _ in range(self.chance.choice([0, 1, 1, 2]))]
        is_warm = bool(self._copies) and self.chance.random() < 0.4
        self._training = self._new_training(self.chance.choice(self._copies) if is_warm else None)
        return f"seed {self._training.seed}; {', '.join(changes) or 'same pictures'}; {self._run()}"

    def train_again(self) -> str:
        """The last training once more: everything comes from the cache."""
        return self._run()

    def refuse(self) -> str:
        """A gate that no model passes."""
        return self._run("evaluation.min_map50=1.0", expected=(3,))

    def kill(self) -> str:
        """SIGKILL at a random moment of a new training, which is then run to its end."""
        return self._stop(signal.SIGKILL)

    def interrupt(self) -> str:
        """The same with Ctrl-C or SIGTERM."""
        return self._stop(self.chance.choice([signal.SIGINT, signal.SIGTERM]))

    def damage(self) -> str:
        """Spoils an artifact that the next run would take from the cache; then runs again."""
        made = [p for name in _ARTIFACTS for p in self._root.glob(f"{name}/*/[0-9]*")]
        newest = {path.parent: path for path in sorted(made, key=lambda path: int(path.name))}
        folder = self.chance.choice(sorted(newest.values()))
        said = self._spoil(folder)
        self.notes.damaged.add(folder.relative_to(self.workdir))
        return f"{said}; {self._run()}"

    def damage_pushed(self) -> str:
        """Changes a served file: `verify` says so. Then the folder is put back."""
        version = self._latest.resolve()
        safe = self.folder / "safe"
        shutil.copytree(version, safe)
        file = self.chance.choice(sorted(version.iterdir()))
        said = self._spoil_file(file)
        found = damage_found(self._backend(), self.workdir, self.pictures.folder)
        if file.relative_to(self.workdir) not in found:
            self._wrong(f"verify does not see: {said}")
        shutil.rmtree(version)
        os.replace(safe, version)
        return said

    def move(self) -> str:
        """Renames the workdir, then runs again."""
        moved = self.folder / f"work_{self._step}"
        os.replace(self.workdir, moved)
        self.workdir = moved
        return f"to {moved.name}; {self._run()}"

    def fill_disk(self) -> str:
        """A new training on a disk that takes no larger files; then with room again."""
        self._training = self._new_training()
        room = int(10 ** self.chance.uniform(2, 5.5))
        ended = self._start(largest_file=room)
        if ended.code == 0:
            self._accept()
        elif ended.code != 1:
            self._wrong(f"exit code {ended.code} on a full disk: {_last_line(ended)}")
        return f"{room} bytes: {_last_line(ended)}; {self._run()}"

    # What they are made of.

    @property
    def _root(self) -> Path:
        return self.workdir / "pipeline_root"

    @property
    def _latest(self) -> Path:
        return served(self.workdir)

    def _backend(self):
        return open_backend(str(self.workdir / "metadata.sqlite"))

    def _new_training(self, base: tuple[Path, Training] | None = None) -> Training:
        self._weights = base[0] if base else None
        return Training(
            seed=self.chance.randrange(10**6),
            train=self.pictures.listed("train"),
            eval=self.pictures.listed("eval"),
            base=base[1] if base else None,
        )

    def _start(self, *settings: str, **options) -> processes.Ended:
        """One run of the current training; notes what it was told and how it ended."""
        data = self.pictures
        arguments = ["--workdir", self.workdir, "--data", data.folder, "--train",
                     data.lists["train"], "--eval", data.lists["eval"],
                     "--preset", "small_data_cpu"]  # fmt: skip
        if self._weights:
            arguments += ["--warm-start", self._weights]
        for setting in (*SETTINGS, f"training.seed={self._training.seed}", *settings):
            arguments += ["--set", setting]
        before = self._last_run()
        ended = processes.run(
            [str(argument) for argument in arguments],
            self.folder / f"output_{self._step}.txt",
            **options,
        )
        self.counts["runs"] += 1
        if "Traceback" in ended.output:
            self._wrong(f"a trace: {_last_line(ended)}")
        run = self._last_run()
        if run != before:
            self.notes.told[run] = self._training
            if ended.code >= 0:
                self.notes.exit_codes[run] = ended.code
        return ended

    def _run(self, *settings: str, expected: tuple[int, ...] = (0,)) -> str:
        """One run to its end, which has to end as expected."""
        ended = self._start(*settings)
        if ended.code not in expected:
            self._wrong(f"exit code {ended.code}, expected {expected}: {_last_line(ended)}")
        if ended.code == 0:
            self._accept()
            self._copy_weights()
        return f"exit code {ended.code} in {ended.seconds:.0f} s"

    def _stop(self, how: signal.Signals) -> str:
        self._training = self._new_training()
        seconds = 10 ** self.chance.uniform(-2.0, 0.7)
        stop = processes.Stop(how, self.chance.choice(_STOPS), seconds)
        ended = self._start(stop=stop)
        if ended.code == 0:  # it came too late
            self._accept()
        elif how == signal.SIGKILL:
            self.counts["killed runs"] += 1
        else:
            self.counts["interrupted runs"] += 1
            if ended.code != _EXIT_INTERRUPTED:
                self._wrong(f"exit code {ended.code} after {how.name}: {_last_line(ended)}")
        self._check_served()
        self._ask()
        return f"{stop}, exit code {ended.code}; {self._run()}"

    def _accept(self) -> None:
        self.notes.accepted[sha256_of(self._latest / "detect.tflite")] = self._training

    def _copy_weights(self) -> None:
        """Keeps a copy of the model that the last Trainer made, to begin from it."""
        models = sorted(self._root.glob("Trainer/model/[0-9]*"), key=lambda path: int(path.name))
        told = [training for _, training in self._copies]
        if models and self._training not in told and len(told) < 4:
            copy = self.folder / f"copy_{len(told)}"
            shutil.copytree(models[-1], copy)
            self._copies.append((copy, self._training))

    def _last_run(self) -> str | None:
        pointer = self.workdir / "latest_run"
        return os.readlink(pointer).rpartition("/")[2] if pointer.is_symlink() else None

    def _spoil(self, folder: Path) -> str:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        kind = self.chance.choice(["deleted", "emptied", "file"])
        if kind == "file" and files:
            return self._spoil_file(self.chance.choice(files))
        shutil.rmtree(folder)
        if kind != "deleted":
            folder.mkdir()
        return f"{folder.relative_to(self.workdir)} {'deleted' if kind == 'deleted' else 'emptied'}"

    def _spoil_file(self, path: Path) -> str:
        content = bytearray(path.read_bytes())
        kind = self.chance.choice(["deleted", "cut", "changed"])
        if kind == "deleted" or not content:
            path.unlink()
            kind = "deleted"
        elif kind == "cut":
            path.write_bytes(content[: self.chance.randrange(len(content))])
        else:
            content[self.chance.randrange(len(content))] ^= 1 << self.chance.randrange(8)
            path.write_bytes(content)
        return f"{path.relative_to(self.workdir)} {kind}"

    def _check_served(self) -> None:
        """What is served was blessed, and is what was judged."""
        if not self._latest.exists():
            if self.notes.accepted:
                self._wrong("nothing is served any more")
            return
        digest = sha256_of(self._latest / "detect.tflite")
        if digest not in self.notes.accepted:
            # The run that was just stopped may have come so far, and was at its report: it was told
            # what would be blessed.
            code = self.notes.exit_codes.get(self._last_run())  # None if it was killed
            if code not in (None, _EXIT_INTERRUPTED):
                self._wrong(f"{digest} is served, which no run said it pushed")
            self.notes.accepted[digest] = self._training
        if (self._latest / "labels.txt").read_text() != "square\n":
            self._wrong("other labels are served")

    def _ask(self) -> None:
        if not (self.workdir / "metadata.sqlite").exists():
            return
        answers = ask_everything(
            self._backend(), self.notes, self.workdir, self.pictures.folder, self.chance
        )
        for question, wrong in answers:
            self.counts["questions"] += 1
            if wrong:
                self._wrong(f"{question}: {wrong}")

    def _wrong(self, what: str) -> None:
        self.problems.append(f"step {self._step}: {what}")
        self.say(f"     WRONG: {what}")


def _last_line(ended: processes.Ended) -> str:
    lines = ended.output.strip().splitlines()
    return lines[-1][:300] if lines else "no output"
