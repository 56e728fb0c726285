"""Which build of the engine is loaded, and what is said where that cannot be."""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from click.testing import CliRunner

from engine_equality import BUILDS
from snn_compile.cli.doctor import command as doctor
from snn_compile.errors import UsageError
from snn_compile.sim import native

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / "toolchain" / "engine"

# Names of the kernel for features, where they are not those of the compilers.
LINUX_NAMES = {
    "sse3": "pni",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "bmi": "bmi1",
    "lzcnt": "abm",
    "avx512vbmi2": "avx512_vbmi2",
    "avx512vnni": "avx512_vnni",
    "avx512bitalg": "avx512_bitalg",
    "avx512vpopcntdq": "avx512_vpopcntdq",
}


@pytest.fixture(autouse=True)
def nothing_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SNN_COMPILE_ENGINE", raising=False)


@pytest.fixture
def installed(absent: Callable[[str], NoReturn], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the libraries that were really built."""
    monkeypatch.delenv("SNN_COMPILE_ENGINE_PATH", raising=False)
    if not native.builds():
        absent(f"no engine: {native.status().why}")
    return Path(native.__path__[0])


def name_of(library: object) -> str:
    return library.snn_engine_build().decode()  # type: ignore[attr-defined]


def test_importing_it_loads_nothing() -> None:
    code = (
        "import sys; from snn_compile.sim import native; "
        "print(*{'ctypes', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "toolchain",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []


def test_where_nothing_was_built_there_is_no_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNN_COMPILE_ENGINE_PATH", str(tmp_path))
    assert native.builds() == ()
    assert native.find() is None
    assert native.status() == native.Status(None, f"none in {tmp_path}")
    with pytest.raises(UsageError, match="no compiled engine") as caught:
        native.load()
    assert caught.value.code == "no-engine"
    assert "compiler" in caught.value.hint


def test_takes_the_best_that_the_cpu_runs(fake_engine: Callable[..., Path]) -> None:
    for build in ("avx2", "avx512"):
        fake_engine(build)
    assert native.builds() == ()  # nobody can say what this CPU runs
    with pytest.raises(UsageError, match="the baseline build, which detects"):
        native.load("avx2")
    fake_engine("baseline", runs=("avx2", "baseline"))
    assert native.builds() == ("avx2", "baseline")
    assert name_of(native.load()) == "avx2"
    assert native.load() is native.find() is native.load("avx2")
    assert native.status() == native.Status(
        "avx2",
        "the best that this CPU supports",
        ("avx512", "avx2", "baseline"),
        ("avx2", "baseline"),
    )


def test_a_process_keeps_its_engine_while_the_project_is_installed_again(
    fake_engine: Callable[..., Path],
) -> None:
    library = fake_engine("baseline")
    before = native.find()
    assert before is not None
    library.unlink()
    assert native.find() is before


def test_a_build_can_be_asked_for(
    fake_engine: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for build in ("avx512", "baseline"):
        fake_engine(build, runs=("baseline",))
    monkeypatch.setenv("SNN_COMPILE_ENGINE", "baseline")
    assert name_of(native.find()) == "baseline"
    assert native.status().why == "selected by SNN_COMPILE_ENGINE"
    for build, reason in (("avx512", "CPU does not support it"), ("avx2", "not installed")):
        monkeypatch.setenv("SNN_COMPILE_ENGINE", build)
        for ask in (native.load, native.find, lambda build=build: native.load(build)):
            with pytest.raises(UsageError, match=reason) as caught:
                ask()
            assert caught.value.code == "no-engine"
            assert caught.value.hint == "available: off, baseline"
        status = native.status()
        assert status.build is None
        assert reason in status.why
        assert status.runnable == ("baseline",)


def test_can_be_switched_off(
    fake_engine: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_engine("baseline")
    monkeypatch.setenv("SNN_COMPILE_ENGINE", "off")
    assert native.find() is None
    assert native.status() == native.Status(
        None, "switched off by SNN_COMPILE_ENGINE", ("baseline",)
    )
    with pytest.raises(UsageError, match="switched off"):
        native.load()
    assert name_of(native.load("baseline")) == "baseline"


def test_a_name_that_is_none_is_refused(
    fake_engine: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_engine("baseline")
    monkeypatch.setenv("SNN_COMPILE_ENGINE", "sse9")
    with pytest.raises(UsageError, match="sse9") as caught:
        native.find()
    assert caught.value.code == "unknown-engine"
    assert caught.value.hint == "one of: auto, off, baseline, avx2, avx512"
    assert native.status().build is None


def test_a_library_of_other_sources_is_refused(fake_engine: Callable[..., Path]) -> None:
    fake_engine("baseline", abi=native.ABI + 1)
    message = f"the baseline engine was built from other sources: ABI {native.ABI + 1}"
    for ask in (native.load, native.find):
        with pytest.raises(UsageError, match=message) as caught:
            ask()
        assert caught.value.code == "stale-engine"
    assert native.status().why.startswith(message)


def test_a_file_that_is_no_library_is_refused(fake_engine: Callable[..., Path]) -> None:
    path = fake_engine("baseline")
    path.unlink()
    path.write_bytes(b"not a library")
    with pytest.raises(UsageError, match="cannot be loaded") as caught:
        native.find()
    assert caught.value.code == "broken-engine"
    status = native.status()
    assert status.build is None
    assert "cannot be loaded" in status.why


def test_a_library_under_anothers_name_is_refused(fake_engine: Callable[..., Path]) -> None:
    fake_engine("baseline", name="avx512")
    with pytest.raises(UsageError, match="contains the avx512 engine"):
        native.find()


@pytest.mark.parametrize("state", ["good", "stale", "off", "unknown"])
def test_doctor_tells_all_of_it(
    fake_engine: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    fake_engine("baseline", abi=native.ABI + (state == "stale"))
    if state in ("off", "unknown"):
        monkeypatch.setenv("SNN_COMPILE_ENGINE", state)
    result = CliRunner().invoke(doctor, ["--json"], standalone_mode=False)
    (check,) = (check for check in json.loads(result.output) if check["name"] == "engine")
    note = {
        "good": "the best that this CPU supports",
        "stale": "the baseline engine was built from other sources",
        "off": "switched off",
        "unknown": "SNN_COMPILE_ENGINE=unknown",
    }[state]
    assert check["found"] == ("baseline" if state == "good" else "none")
    assert check["ok"] == (state == "good")
    assert check["note"].startswith(note)
    assert not check["needed"]


def test_abi_is_the_number_of_the_header() -> None:
    header = (ENGINE / "engine.h").read_text()
    assert re.findall(r"#define SNN_ENGINE_ABI (\d+)", header) == [str(native.ABI)]


def test_every_installed_build_says_its_name_and_abi(installed: Path) -> None:
    for build in native.builds():
        assert name_of(native.load(build)) == build
    assert set(native.status().installed) == set(BUILDS)


@pytest.mark.skipif(platform.system() != "Linux", reason="reads /proc/cpuinfo")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="only baseline there")
@pytest.mark.parametrize("build", ["avx2", "avx512"])
def test_agrees_with_the_kernel_on_what_the_cpu_can_do(installed: Path, build: str) -> None:
    lists = dict(
        re.findall(r"set\((AVX\w+)_FEATURES([^)]*)\)", (ENGINE / "CMakeLists.txt").read_text())
    )
    needed = set(lists["AVX2"].split())
    if build == "avx512":
        needed |= set(lists["AVX512"].replace("${AVX2_FEATURES}", "").split())
    flags = set(re.findall(r"^flags\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)[0].split())
    expected = {LINUX_NAMES.get(name, name) for name in needed} <= flags
    assert (build in native.builds()) == expected


@pytest.mark.skipif(not shutil.which("nm"), reason="needs binutils")
@pytest.mark.skipif(platform.system() != "Linux", reason="ELF")
def test_the_libraries_export_the_c_abi_and_nothing_else(installed: Path) -> None:
    for library in installed.glob("snn_engine_*.so"):
        symbols = subprocess.run(
            ["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True
        ).stdout.split()[2::3]
        assert symbols
        assert [name for name in symbols if not name.startswith("snn_engine_")] == []


@pytest.mark.skipif(not shutil.which("objdump"), reason="needs binutils")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="registers of x86")
def test_no_build_uses_registers_that_it_may_not(installed: Path) -> None:
    """What the CPU is asked for is what the code needs."""
    for build, forbidden in (("baseline", ("%ymm", "%zmm")), ("avx2", ("%zmm",))):
        code = subprocess.run(
            ["objdump", "-d", "--no-show-raw-insn", installed / f"snn_engine_{build}.so"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert [register for register in forbidden if register in code] == []
