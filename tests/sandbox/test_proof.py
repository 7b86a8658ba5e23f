"""The proof at a worker's start, also on a kernel that can't confine: a filter around the worker makes it one."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.sandbox.proof import Demand, NotConfined, Proof, prove, tried
from app.sandbox.supervisor import Forge
from tests.sandbox.asking import LIMITS

_ROOT = Path(__file__).resolve().parent.parent.parent

# From here on, the kernel has no Landlock for this process and all that it starts. As in an old or cut-down kernel.
_WITHOUT_LANDLOCK = """
import os, sys
from app.sandbox.kernel.bpf import ALLOW, Filter, assemble, refuse
from app.sandbox.kernel.seccomp import architecture, install
from app.sandbox.kernel.system import prctl
prctl(38, 1)
install(assemble(Filter(architecture().audit, {444: refuse(38)}, {}, ALLOW, ALLOW, 1 << 30)))
"""


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "fusebox.sqlite"
    path.write_text("rows")
    return path


def test_children_here_are_confined_and_do_a_job(forge: Forge, tmp_path: Path, secret: Path) -> None:
    demand = Demand("required", "cpu", LIMITS, (secret, tmp_path))

    proof = prove(forge, tmp_path / "proof", demand)

    assert proof == Proof("required", ())
    assert proof.confinement == "full"
    assert not (tmp_path / "proof").exists()


def test_children_that_may_use_cuda_are_confined_as_well(forge: Forge, tmp_path: Path, secret: Path) -> None:
    demand = Demand("required", "cuda:0", LIMITS, (secret, tmp_path))

    assert tried(forge, tmp_path / "proof", demand) == []


def test_what_a_child_can_do_although_it_must_not_is_found(forge: Forge, tmp_path: Path) -> None:
    # The numeric libraries are no secret, and a child reads them.
    import numpy

    demand = Demand("required", "cpu", LIMITS, (Path(numpy.__file__),))

    with pytest.raises(NotConfined, match=r"read .*numpy") as raised:
        prove(forge, tmp_path / "proof", demand)

    assert raised.value.reason == "too-free"
    assert "numpy" not in raised.value.detail + raised.value.remedy


def test_a_child_that_can_do_no_job_is_found_in_every_mode(forge: Forge, tmp_path: Path) -> None:
    demand = Demand("off", "cpu", LIMITS.model_copy(update={"written": 10}), ())

    with pytest.raises(NotConfined, match="can't") as raised:
        prove(forge, tmp_path / "proof", demand)

    assert raised.value.reason == "no-job"


def test_an_operator_who_accepts_it_gets_no_confinement_and_is_told_so(forge: Forge, tmp_path: Path) -> None:
    proof = prove(forge, tmp_path / "proof", Demand("off", "cpu", LIMITS, (tmp_path,)))

    assert proof.confinement == "off"


def test_as_much_as_the_kernel_can_is_partial_where_it_can_not_confine_files(tmp_path: Path, secret: Path) -> None:
    program = f"""{_WITHOUT_LANDLOCK}
from pathlib import Path
from app.sandbox.proof import Demand, prove
from app.sandbox.supervisor import Forge
from tests.sandbox.asking import LIMITS
with Forge(1) as forge:
    proof = prove(forge, Path(sys.argv[1], "proof"), Demand("available", "cpu", LIMITS, (Path(sys.argv[2]),)))
    print(proof.confinement, *proof.wrong, sep="\\n")
"""

    ended = _python(program, str(tmp_path), str(secret))

    confinement, *wrong = ended.stdout.splitlines()
    assert confinement == "partial"
    assert f"read {secret}" in wrong
    assert "read /etc/passwd" in wrong
    # What the filter of calls alone keeps from it.
    assert not [name for name in wrong if "socket" in name or "signal" in name or name in ("fork", "run a program")]


def test_what_lies_on_a_read_only_file_system_counts_as_refused(tmp_path: Path, secret: Path) -> None:
    program = """
import sys
from pathlib import Path
from app.sandbox.proof import Demand, prove
from app.sandbox.supervisor import Forge
from tests.sandbox.asking import LIMITS
with Forge(1) as forge:
    print(prove(forge, Path(sys.argv[1], "proof"), Demand("required", "cpu", LIMITS, (Path(sys.argv[2]),))).confinement)
"""
    # As in a container whose root is read-only: the kernel answers with EROFS before it asks Landlock.
    alone = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    read_only = [*alone, "sh", "-c", 'mount -o bind,ro /var/tmp /var/tmp && exec "$@"', "sh"]

    ended = _python(program, str(tmp_path), str(secret), within=read_only)

    assert ended.stdout == "full\n", ended.stderr


def test_a_worker_refuses_to_start_where_the_kernel_can_not_confine(tmp_path: Path) -> None:
    program = f"""{_WITHOUT_LANDLOCK}
os.execv(sys.executable, [sys.executable, "-m", "app", "worker", "--data-dir", sys.argv[1]])
"""

    ended = _python(program, str(tmp_path / "data"))

    assert ended.returncode == 2
    assert ended.stderr.startswith(
        "fusebox: not-confined: no-landlock: FUSEBOX_SANDBOX is 'required', and the kernel does not confine what works "
        "on uploads: Landlock can't be used here (Function not implemented). It needs Linux 5.13 or later"
    )
    assert "FUSEBOX_SANDBOX=available" in ended.stderr
    assert ended.stderr.count("\n") == 1, "a sentence, and nothing of children that died"


def _python(program: str, *arguments: str, within: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*within, sys.executable, "-c", program, *arguments],
        cwd=_ROOT,
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
