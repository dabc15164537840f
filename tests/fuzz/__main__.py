"""Runs many cases of every format.

.venv/bin/python -m tests.fuzz [--seed 1] [--cases 1000] [--only FORMAT]
"""

import argparse
import collections
import sys
import warnings

from tests.fuzz.cases import Fault, run_case
from tests.fuzz.data_sets import FORMATS


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=1000, help="of each format; default: 1000")
    parser.add_argument("--only", choices=(*FORMATS, "archive"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    faults = []
    for kind in [options.only] if options.only else [*FORMATS, "archive"]:
        ends = collections.Counter()
        for number in range(options.cases):
            try:
                ends[run_case(kind, options.seed, number)] += 1
            except Fault as fault:
                ends["FAULT"] += 1
                faults.append(fault)
                print(fault, flush=True)
        print(f"{kind}: {dict(ends)}", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
