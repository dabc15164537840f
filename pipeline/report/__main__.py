"""`python -m pipeline.report RUN [RUN]`: the page of a run again, or a comparison of two.

Exit codes: 0 written, 2 no such run or store, or an invalid command line.
"""

import argparse
import sys
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import write_whole
from pipeline.report.comparison import render_comparison
from pipeline.report.run_page import facts_of, find_run, read_run_facts, write_run_page

_EXIT_NOTHING = 2


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.report",
        description="Makes the page of a run again, report.html in its folder; with two runs, a "
        "page that compares them: which classes got better, which pictures changed sides.",
    )
    parser.add_argument("run", help="its folder or id; latest_run in the workdir is a folder, too")
    parser.add_argument("other", nargs="?", help="a later run, to compare with the first")
    parser.add_argument("--workdir", default="workdir", help="of the local runner (workdir)")
    parser.add_argument(
        "--metadata", metavar="FILE_OR_URL", help="the store, if not the one of the run's summary"
    )
    parser.add_argument("--out", metavar="FILE", help="where to write a comparison "
                        "(comparison.html)")  # fmt: skip
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = parse_arguments(arguments)
    try:
        print(_write(options))
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return _EXIT_NOTHING
    return 0


def _write(options: argparse.Namespace) -> Path:
    folder = find_run(options.run, options.workdir)
    if options.other is None:
        if options.out:
            raise UserError("Expected --out with two runs. Received: one; its page has its place.")
        return write_run_page(folder, options.metadata)
    sides = []
    for each in (folder, find_run(options.other, options.workdir)):
        facts, run = read_run_facts(each, options.metadata)
        sides.append((facts_of(facts, each), run))
    page = Path(options.out or "comparison.html")
    write_whole(page, render_comparison(*sides))
    return page


if __name__ == "__main__":
    sys.exit(main())
