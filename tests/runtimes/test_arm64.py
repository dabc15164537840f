"""The phone's instruction set: the pushed file under user-mode emulation of ARM64.

It proves numbers, not speed. The emulated Python and its libraries are Debian's arm64 packages,
unpacked into a folder; nothing is installed.
"""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from tests.runtimes.arm64_outputs import outputs_of
from tests.runtimes.caches import cached_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

# In Debian 13 base-files says that /lib is /usr/lib.
_PACKAGES = ("base-files", "python3-minimal", "libpython3-stdlib", "libstdc++6")
# LiteRT 2.3.0 crashes under the emulator of Debian 12 (7.2); 2.1.0 has the same kernels.
_WHEELS = ("numpy==2.2.6", "ai-edge-litert==2.1.0")
_PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux_2_27_aarch64")


@pytest.fixture(scope="session")
def arm64() -> Path:
    """A folder with `root`, an unpacked Debian, and `site`, the wheels."""
    if shutil.which("qemu-aarch64-static") is None:
        pytest.skip("qemu-aarch64-static is not installed (Debian: qemu-user-static)")
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: this is no Debian")
    if not Path("/sys/devices/system/cpu").exists():
        pytest.skip("/sys is not mounted: LiteRT looks there for its CPU, to choose kernels")
    key = " ".join([*_PACKAGES, *_WHEELS]).encode()
    return cached_folder("arm64", key, _unpack)


def _unpack(folder: Path) -> None:
    """Fetches from where apt and pip are set up to fetch from."""

    def run(*command, cwd=folder):
        subprocess.run(command, cwd=cwd, check=True, capture_output=True, timeout=600)

    # Apt's own state stays as it is: this one is for another architecture.
    for path in ("apt/lists/partial", "apt/archives/partial", "wheels"):
        (folder / path).mkdir(parents=True)
    (folder / "apt" / "status").touch()
    settings = {
        "Dir::State": folder / "apt",
        "Dir::State::status": folder / "apt" / "status",
        "Dir::Cache": folder / "apt",
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
    }
    options = [word for item in settings.items() for word in ("-o", "=".join(map(str, item)))]
    run("apt-get", *options, "update")
    run(
        "apt-get", *options, "install", "--download-only", "--yes", "--no-install-recommends",
        *_PACKAGES,
    )  # fmt: skip
    for package in sorted((folder / "apt" / "archives").glob("*.deb")):
        run("dpkg", "-x", package, folder / "root")
    version = _python(folder).name.removeprefix("python")
    platforms = [word for name in _PLATFORMS for word in ("--platform", name)]
    run(
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
        *platforms, "--python-version", version, "--dest", folder / "wheels", *_WHEELS,
    )  # fmt: skip
    for wheel in (folder / "wheels").iterdir():
        zipfile.ZipFile(wheel).extractall(folder / "site")
    for name in ("apt", "wheels"):
        shutil.rmtree(folder / name)


def _python(folder: Path) -> Path:
    """Of the unpacked Debian."""
    [python] = (folder / "root" / "usr" / "bin").glob("python3.[0-9]*")
    return python


# One without and one with the instructions for dot products of int8.
@pytest.mark.parametrize("cpu", ["cortex-a53", "cortex-a76"])
@pytest.mark.parametrize("name", ["detect.tflite", "detect_raw.tflite"])
def test_arm64_computes_what_x86_computes(subject, arm64, tmp_path, name, cpu):
    model = subject.model.with_name(name)
    if not model.exists():
        pytest.skip(f"the pushed version has no {name}")
    pictures = np.stack([np.asarray(Image.open(path))[None] for path in subject.pictures])
    [details] = Interpreter(model_path=str(model)).get_input_details()
    is_float = details["dtype"] == np.float32
    inputs = pictures.astype(np.float32) / np.float32(127.5) - 1 if is_float else pictures
    np.save(tmp_path / "inputs.npy", inputs)
    script = Path(__file__).with_name("arm64_outputs.py")
    done = subprocess.run(
        ["qemu-aarch64-static", "-cpu", cpu, "-L", arm64 / "root",
         "-E", f"PYTHONPATH={arm64 / 'site'}",
         _python(arm64), "-S", script, model, tmp_path / "inputs.npy", tmp_path / "outputs.npz"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = outputs_of(str(model), inputs)
    with np.load(tmp_path / "outputs.npz") as arrays:
        assert str(arrays["machine"]) == "aarch64"
        received = [arrays[f"arr_{index}"] for index in range(len(expected))]
    assert len(pictures) >= 10
    for ours, theirs in zip(_valid(expected), _valid(received), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def _valid(outputs: list[np.ndarray]) -> list[np.ndarray]:
    """What is past the number of detections is garbage, and may differ."""
    counts = [array for array in outputs if array.ndim == 2]  # [pictures, 1]
    if not counts:
        return outputs
    least = int(counts[0].min())
    return [array if array.ndim == 2 else array[:, :, :least] for array in outputs]
