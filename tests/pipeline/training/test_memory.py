import pytest

from pipeline.training.memory import available_bytes

GB = 1_000_000_000


@pytest.fixture
def system(tmp_path):
    """A file system's root with 8 GB free; takes further files."""

    def make(**files):
        for name, text in {"proc/meminfo": f"MemTotal: 9 kB\nMemAvailable: {8 * GB // 1024} kB\n",
                           **files}.items():  # fmt: skip
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return make


def group(folder, limit, used, droppable=0):
    return {
        f"{folder}/memory.max": f"{limit}\n",
        f"{folder}/memory.current": f"{used}\n",
        f"{folder}/memory.stat": f"anon 5\ninactive_file {droppable}\n",
    }


def test_without_groups_the_free_memory_of_the_machine_counts(system):
    assert available_bytes(system()) == pytest.approx(8 * GB, abs=1024)


@pytest.mark.parametrize(
    ("limit", "used", "droppable", "free"),
    [
        (3 * GB, 1 * GB, 0, 2 * GB),
        (3 * GB, 1 * GB, GB // 2, 2.5 * GB),
        ("max", 1 * GB, 0, 8 * GB),
        (20 * GB, 1 * GB, 0, 8 * GB),
        (1 * GB, 1 * GB + 5, 0, 0),
    ],
)
def test_a_container_has_what_its_limit_leaves(system, limit, used, droppable, free):
    root = system(**{"proc/self/cgroup": "0::/\n"},
                  **group("sys/fs/cgroup", limit, used, droppable))  # fmt: skip
    assert available_bytes(root) == pytest.approx(free, abs=1024)


def test_limits_of_parent_groups_count(system):
    root = system(
        **{"proc/self/cgroup": "0::/pods/one\n"},
        **group("sys/fs/cgroup/pods", 2 * GB, 1 * GB),
        **group("sys/fs/cgroup/pods/one", "max", 1 * GB),
    )
    assert available_bytes(root) == 1 * GB


def test_a_path_of_the_host_falls_back_to_the_top_group(system):
    root = system(**{"proc/self/cgroup": "0::/of/the/host\n"},
                  **group("sys/fs/cgroup", 2 * GB, GB))  # fmt: skip
    assert available_bytes(root) == 1 * GB


def test_control_groups_of_version_1_count(system):
    folder = "sys/fs/cgroup/memory/box"
    root = system(
        **{
            "proc/self/cgroup": "3:cpu,cpuacct:/box\n2:memory:/box\n",
            f"{folder}/memory.limit_in_bytes": str(4 * GB),
            f"{folder}/memory.usage_in_bytes": str(2 * GB),
            f"{folder}/memory.stat": f"total_inactive_file {GB}\n",
        }
    )
    assert available_bytes(root) == 3 * GB


def test_this_machine_has_free_memory():
    assert available_bytes() > 0
