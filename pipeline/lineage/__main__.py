"""The command line: `python -m pipeline.lineage VERB`.

Exit codes: 0 answered, 1 `verify` found X itself missing or changed, 2 no answer (X not found or
ambiguous, no store, an invalid command line, X could not be checked), 3 `verify` found X itself
intact, but what it was made from is not, or could not be checked.
"""

import argparse
import contextlib
import csv
import gc
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from ml_metadata import errors as mlmd_errors

from pipeline.errors import UserError, one_line
from pipeline.lineage import diff, open_backend, runs, tables, trace, verify, why
from pipeline.lineage.embedded import read_embedded
from pipeline.lineage.impact import Impacts, impact_of_all
from pipeline.lineage.runs import STATES
from pipeline.lineage.verify import Verification

EXIT_ANSWERED, EXIT_FOUND, EXIT_NO_ANSWER, EXIT_INPUTS = 0, 1, 2, 3
# The verbs whose answers contain facts that some kinds of stores do not record.
_WITH_GAPS = ("trace", "diff", "why", "verify", "export")
_EXIT_INTERRUPTED = 130
_LAST_RUNS = 20
_GRAPHS = ("mermaid", "dot", "json", "html")
_EXPORTS = ("openlineage", "in-toto")
_X = (
    "a pushed folder, a .tflite file anywhere or its sha256, an artifact's id or uri, or a run's "
    "id or folder"
)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--workdir", default="workdir", help="of the local runner (workdir)")
    common.add_argument(
        "--metadata",
        metavar="FILE_OR_URL",
        help="SQLite file, mysql://, postgresql:// or vertex:// URL (WORKDIR/metadata.sqlite)",
    )
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.lineage",
        description="Answers questions about models from ML Metadata. Read-only.",
        epilog="Exit codes: 0 answered; 1 verify: the shipped file is not intact; 2 no answer; 3 "
        "verify: the shipped file is intact, its training inputs are not, or cannot be checked.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str, *subjects: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text, description=text, parents=[common])
        for subject in subjects:
            added.add_argument(subject, help=_X)
        if name not in ("graph", "export"):
            added.add_argument("--json", action="store_true", help="print JSON")
        return added

    listing = verb("runs", "runs with their outcomes")
    many = listing.add_mutually_exclusive_group()
    many.add_argument(
        "--last", type=_positive, metavar="N", help=f"the last N that match ({_LAST_RUNS})"
    )
    many.add_argument("--all", action="store_true", help="all that match")
    listing.add_argument("--state", choices=STATES)
    listing.add_argument("--preset", metavar="NAME")
    listing.add_argument("--span", type=int, metavar="N", help="of the data")
    ancestry = verb("trace", "where does X come from?", "x")
    ancestry.add_argument(
        "--baselines",
        action="store_true",
        help="also the ancestry of the baselines that it was compared with",
    )
    touched = verb("impact", "what has X touched?")
    touched.add_argument(
        "x",
        nargs="+",
        help="an Examples, Schema or Model artifact's id or uri, span:N, a run, or an image: its "
        "id, file name or sha256",
    )
    touched.add_argument("--csv", action="store_true", help="print a row for each X and version")
    touched.add_argument(
        "--lists",
        metavar="DIR",
        help="write lists of the images that remain without X, to train again with them",
    )
    verb("diff", "what differs between A and B?", "a", "b")
    verb("why", "why was X blessed and pushed or not, and why did its components run?", "x")
    verb("verify", "are the files behind X unchanged?", "x")
    for name, text, formats in (
        ("graph", "draw the lineage of X", _GRAPHS),
        ("export", "export the lineage of X for other tools", _EXPORTS),
    ):
        added = verb(name, text, "x")
        added.add_argument("--format", choices=formats, default=formats[0])
        added.add_argument("--out", metavar="FILE", help="instead of standard output")
    added.add_argument(
        "--sign-with",
        metavar="KEY",
        help="in-toto: sign with this private key, PEM, of Ed25519 or ECDSA on P-256",
    )
    added.add_argument(
        "--builder-id",
        metavar="URI",
        help="in-toto: what made the model; default: TFX's local runner, or Vertex AI",
    )
    options = parser.parse_args(arguments)
    if options.verb == "impact" and options.csv and options.json:
        parser.error("argument --csv: not allowed with argument --json")
    return options


def _positive(text: str) -> int:
    number = int(text)  # argparse turns its ValueError into a message
    if number < 1:
        raise argparse.ArgumentTypeError(f"Expected a positive number. Received: {number}.")
    return number


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = parse_arguments(arguments)
    location = options.metadata or os.path.join(options.workdir, "metadata.sqlite")
    try:
        with _without_logs():
            try:
                backend = open_backend(location)
                code = _answer(options, backend)
            except UserError as error:
                return _tell_embedded(options, error)
            sys.stdout.flush()
        if backend.gaps and options.verb in _WITH_GAPS:
            _say(f"note: {backend.gaps}.")
        return code
    except UserError as error:
        _say(f"error: {error}")
    except mlmd_errors.AbortedError:
        _say(f"error: {location} is being written to; try again in a moment.")
    except BrokenPipeError:  # whatever reads the output, such as `head`, has closed it
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the flush at exit
        return EXIT_ANSWERED
    except Exception as error:  # whatever a damaged store leads to
        what = one_line(error)
        _say(
            f"error: {location}, or a file that it names, is damaged "
            f"({type(error).__name__}: {what}). Restore it from a copy; if it is sound, this is a "
            "fault of the program."
        )
    return EXIT_NO_ANSWER


def _tell_embedded(options: argparse.Namespace, problem: UserError) -> int:
    """Without a store that knows X, a file still tells what made it."""
    found = read_embedded(options.x) if options.verb == "trace" else None
    if found is None:
        raise problem
    print(json.dumps(found.to_json(), indent=2)) if options.json else tables.show(found)
    sys.stdout.flush()
    _say(f"note: that is what the file says of itself. {problem}")
    return EXIT_ANSWERED


def _say(line: str) -> None:
    print(tables.escaped(line), file=sys.stderr)


@contextlib.contextmanager
def _without_logs() -> Iterator[None]:
    """Silences ML Metadata, which logs what then is an error; our own words get through."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    sys.stderr.flush()
    original = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    ours = sys.stderr
    try:
        os.dup2(nowhere, 2)
        with open(os.dup(original), "w", errors="backslashreplace", buffering=1) as sys.stderr:
            yield
    finally:
        sys.stderr = ours
        os.dup2(original, 2)
        os.close(original)
        os.close(nowhere)
        logger.setLevel(level)


def _in_child(arguments: list[str] | None = None) -> int:
    """`main` in another process: ML Metadata's native code aborts at some damaged stores."""
    parse_arguments(arguments)  # says what is wrong with them
    child = os.fork()
    if child == 0:
        # One answer, and the process ends: looking for garbage would take a tenth of its time.
        gc.disable()
        code = _EXIT_INTERRUPTED
        with contextlib.suppress(KeyboardInterrupt):
            code = main(arguments)
        sys.stdout.flush()
        os._exit(code)
    try:
        _, status = os.waitpid(child, 0)
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    if os.WIFSIGNALED(status):
        _say(
            f"error: ML Metadata broke off ({signal.Signals(os.WTERMSIG(status)).name}), which it "
            "does at a damaged store. Restore it from a copy."
        )
        return EXIT_NO_ANSWER
    return os.waitstatus_to_exitcode(status)


def _answer(options: argparse.Namespace, backend) -> int:
    if options.verb in ("graph", "export"):
        _write(_text(options, backend), options.out)
        return EXIT_ANSWERED
    answer = _ask(options, backend)
    if options.verb == "impact":
        return _show_impact(options, backend, answer)
    if options.json:
        content = [line.to_json() for line in answer] if options.verb == "runs" else (
            answer.to_json()
        )  # fmt: skip
        print(json.dumps(content, indent=2))
    else:
        tables.show(answer)
    if options.verb == "runs" and not (options.all or options.last) and len(answer) == _LAST_RUNS:
        _say(f"note: the last {_LAST_RUNS} runs; --all shows every one.")
    if options.verb == "verify":
        return _code_of(answer)
    return EXIT_ANSWERED


def _code_of(answer: Verification) -> int:
    """Only a file of which everything was checked is called intact."""
    if answer.shipped.is_sound is False:
        return EXIT_FOUND
    if answer.shipped.is_sound is None or answer.shipped.unchecked:
        return EXIT_NO_ANSWER
    return EXIT_INPUTS if answer.inputs.findings else EXIT_ANSWERED


def _ask(options: argparse.Namespace, backend) -> Any:
    match options.verb:
        case "runs":
            return runs(
                backend,
                last=None if options.all else options.last or _LAST_RUNS,
                state=options.state,
                preset=options.preset,
                span=options.span,
            )
        case "trace":
            return trace(backend, options.x, through_baselines=options.baselines)
        case "diff":
            return diff(backend, options.a, options.b)
    return {"impact": impact_of_all, "why": why, "verify": verify}[options.verb](backend, options.x)


def _show_impact(options: argparse.Namespace, backend, answer: Impacts) -> int:
    from pipeline.lineage.retraining import retraining  # no other verb needs it

    if options.json:
        content = [found.to_json() for found in answer.answers]
        print(json.dumps(content if len(options.x) > 1 else content[0], indent=2))
    elif options.csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows(
            [tables.escaped("" if cell is None else str(cell)) for cell in row]
            for row in tables.csv_rows(answer)
        )
    else:
        tables.show(answer)
    if options.lists or not (options.json or options.csv):
        again = retraining(backend, answer.answers)
        if options.lists:
            if not (again and again.ids) or again.obstacle:
                obstacle = again.obstacle if again else None
                raise UserError(
                    "Expected images in the data of a run of local_runner.py, to write lists "
                    f"without them. Received: {obstacle or 'others'}."
                )
            again.write_lists(options.lists)
        else:
            place = (["--metadata", options.metadata] if options.metadata else
                     ["--workdir", options.workdir])  # fmt: skip
            tables.print_lines(tables.withdrawal(answer, place))
            if again and answer.is_served:
                folder = os.path.join(options.workdir, f"without_{_slug(options.x)}")
                words = ["impact", *options.x, *place, "--lists", folder]
                tables.print_lines(tables.retraining(again, words, folder))
    if answer.lost:
        _say(f"error: {backend.location} does not know {', '.join(answer.lost)}.")
        return EXIT_NO_ANSWER
    return EXIT_ANSWERED


def _slug(names: list[str]) -> str:
    """A short name of a folder."""
    stem = re.sub(r"[^A-Za-z0-9]+", "_", PurePosixPath(names[0]).stem)[:40].strip("_")
    return f"{stem}_and_{len(names) - 1}" if len(names) > 1 else stem


def _text(options: argparse.Namespace, backend) -> str:
    if options.verb == "graph":
        from pipeline.lineage import graph

        return graph.draw(trace(backend, options.x), options.format)
    from pipeline.lineage import export

    return export.export(
        trace(backend, options.x),
        options.format,
        builder_id=options.builder_id,
        key_file=options.sign_with,
    )


def _write(text: str, path: str | None) -> None:
    if path is None:
        print(text)
        return
    try:
        Path(path).write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UserError(
            f"Expected a writable file. Received: {path} ({error.strerror})."
        ) from error


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(_in_child())
