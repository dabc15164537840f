"""TensorFlow's own benchmark_model on a phone on a cable, through adb.

TensorFlow's documentation puts that program into /data/local/tmp of the phone: see docs/phone.md.
It feeds noise, and prints lines such as these, newer ones with percentiles (noise has few
detections, so the post-processing takes less time than for a picture):

    INFO: count=337 first=2881 curr=2703 min=2605 max=20356 avg=2942.27 std=1190 p5=2647 median=2781
    p95=3169
    INFO: Memory footprint delta from the start of the tool (MB): init=39.4531 overall=40.8281

The first `count=` is of the warm-up, the last of the runs that count.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

_FOLDER = "/data/local/tmp"
_PROGRAMS = ("benchmark_model", "android_aarch64_benchmark_model", "android_arm_benchmark_model")
_MODEL = f"{_FOLDER}/detector_benchmark.tflite"
_WARM_UP = 5
_SECONDS = 300
_DEVICE = re.compile(r"^(\S+)\t(\S+)$", re.MULTILINE)
_COUNT = re.compile(r"\bcount=\d+ .*")
_VALUE = re.compile(r"(\w+)=([\d.e+]+)")
_MEMORY = re.compile(r"\boverall=([\d.e+]+)")


class PhoneError(Exception):
    """What keeps from measuring on the phone, in a sentence."""


class Phone(NamedTuple):
    """A phone that can be measured on.

    Attributes:
      name: its model.
      serial: for adb.
      program: path of benchmark_model on it.
    """

    name: str
    serial: str
    program: str


def find_phone() -> Phone | None:
    """The phone on the cable; None without adb or without a phone.

    Raises:
      PhoneError: there is one, but it can't be used.
    """
    if shutil.which("adb") is None:
        return None
    devices = _DEVICE.findall(_adb("devices"))
    if not devices:
        return None
    if len(devices) > 1:
        raise PhoneError(f"Expected one phone. Received: {', '.join(name for name, _ in devices)}.")
    [(serial, state)] = devices
    if state != "device":
        raise PhoneError(
            f"Expected a phone that lets adb in. Received: {serial}, which is {state}. Unlock it, "
            "and allow USB debugging."
        )
    there = _shell(serial, "ls", _FOLDER).split()
    program = next((name for name in _PROGRAMS if name in there), None)
    if program is None:
        raise PhoneError(
            f"Expected TensorFlow's {_PROGRAMS[0]} in {_FOLDER} of phone {serial}. Received: none. "
            "docs/phone.md says how it gets there."
        )
    name = _shell(serial, "getprop", "ro.product.model").strip()
    return Phone(name or serial, serial, f"{_FOLDER}/{program}")


def measure(
    phone: Phone, path: Path, configurations: Sequence[tuple[bool, int]], runs: int
) -> list[dict[str, Any]]:
    """Measures a file; nothing of it stays on the phone.

    Args:
      phone: from `find_phone`.
      path: of the file.
      configurations: whether XNNPACK runs it, and on how many threads.
      runs: at least so many inferences.

    Returns:
      For each {xnnpack, threads, mean_ms, median_ms, p95_ms, memory_mb}, None where the program
      does not say.

    Raises:
      PhoneError: adb or the program failed.
    """
    _adb("-s", phone.serial, "push", str(path), _MODEL)
    try:
        return [
            {"xnnpack": xnnpack, "threads": threads}
            | _parsed(
                _shell(
                    phone.serial,
                    phone.program,
                    f"--graph={_MODEL}",
                    f"--num_threads={threads}",
                    f"--use_xnnpack={str(xnnpack).lower()}",
                    f"--num_runs={runs}",
                    f"--warmup_runs={_WARM_UP}",
                )
            )
            for xnnpack, threads in configurations
        ]
    finally:
        _shell(phone.serial, "rm", "-f", _MODEL)


def _parsed(output: str) -> dict[str, float | None]:
    counts = _COUNT.findall(output)
    values = dict(_VALUE.findall(counts[-1])) if counts else {}
    if "avg" not in values:
        raise PhoneError(
            f"Expected times from benchmark_model. Received: {_last_line(output) or 'nothing'}"
        )

    def ms(name: str) -> float | None:
        return round(float(values[name]) / 1000, 3) if name in values else None

    memory = _MEMORY.search(output)
    return {
        "mean_ms": ms("avg"),
        "median_ms": ms("median"),
        "p95_ms": ms("p95"),
        "memory_mb": float(memory[1]) if memory else None,
    }


def _shell(serial: str, *words: str) -> str:
    return _adb("-s", serial, "shell", *words)


def _adb(*words: str) -> str:
    try:
        done = subprocess.run(
            ["adb", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PhoneError(f"adb {' '.join(words)} failed: {error}") from error
    if done.returncode:
        raise PhoneError(f"adb {' '.join(words)} failed: {_last_line(done.stdout)}")
    return done.stdout


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
