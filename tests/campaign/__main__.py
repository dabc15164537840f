"""Runs a campaign and prints its figures; exit code 1 if anything was wrong."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.campaign.campaign import Campaign


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="default: 20")
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    options = parser.parse_args()
    # Of the server that loads TFX: dozens of lines that libraries print about each other.
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
    with tempfile.TemporaryDirectory(prefix="campaign_") as folder:
        campaign = Campaign(Path(folder), options.seed, lambda line: print(line, flush=True))
        campaign.go(options.minutes)
        counts = ", ".join(f"{count} {name}" for name, count in campaign.counts.items())
        print(f"\nseed {options.seed}: {counts}; {len(campaign.problems)} wrong")
        print("".join(f"  {problem}\n" for problem in campaign.problems), end="")
    return 1 if campaign.problems else 0


if __name__ == "__main__":
    sys.exit(main())
