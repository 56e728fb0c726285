"""The examples and the shared models as C programs, in every coding and on other machines."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from hil_networks import network
from snn_backends.c import CBackend, machines
from snn_compile import compile_model

EVERY_CODING = ("graded", "sync", "radix", "rate", "signed", "sigma-delta")


@pytest.mark.parametrize(
    ("coding", "platform"), [("sync", "avr8"), ("signed", "unix64"), ("sigma-delta", "unix64")]
)
def test_cppcheck_finds_nothing(coding, platform, tmp_path):
    """On a platform whose ``int`` has 16 bits, too."""
    if not shutil.which("cppcheck"):
        pytest.skip("no cppcheck: apt install cppcheck")
    program, _ = network(coding)
    CBackend().emit(program, tmp_path)
    command = ["cppcheck", "--enable=warning,style,performance,portability", "--inconclusive"]
    command += ["--std=c99", "--quiet", "--error-exitcode=1", "-DSNN_TRACE=recorded"]
    done = subprocess.run(
        [*command, f"--platform={platform}", "network.c", "selftest.c"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def assert_verifies(compiled, folder, stimuli):
    compiled.emit("c", folder)
    frames = compiled.stimulus[:stimuli].astype("int64")
    outcome = CBackend().verify(compiled.program, folder, frames, time_limit=3000)
    assert outcome.equal, outcome.details
    assert outcome.compared


@pytest.mark.slow
@pytest.mark.parametrize("coding", EVERY_CODING)
@pytest.mark.parametrize("name", ["mnist_mlp_256x2", "mnist_cnn_cntk", "fashion_vggbn"])
def test_shared_models(model_data, name, coding, tmp_path):
    """In emulators, too, where they are installed; ``cifar10_resnet20`` is below."""
    data = model_data(name, calibrate=64, evaluate=16)
    steps = {"timesteps": 8} if coding in ("sync", "rate", "signed") else {}
    compiled = compile_model(data.model, calibrate=data.calibrate, coding=coding, emit=(), **steps)
    assert_verifies(compiled, tmp_path / "c", 2)


@pytest.mark.slow
@pytest.mark.parametrize("coding", ["graded", "radix", "sigma-delta"])
def test_resnet(model_data, coding, tmp_path):
    data = model_data("cifar10_resnet20", calibrate=64, evaluate=16)
    compiled = compile_model(data.model, calibrate=data.calibrate, coding=coding, emit=())
    assert_verifies(compiled, tmp_path / "c", 1)


@pytest.mark.slow
@pytest.mark.parametrize("coding", EVERY_CODING)
def test_the_digits_fit_a_small_microcontroller(examples, coding, tmp_path):
    """64 kB of flash and 16 kB of RAM, in every coding."""
    compiled = compile_model(
        examples / "digits_cnn.onnx",
        calibrate=examples / "digits_calibrate.npz",
        coding=coding,
        emit=(),
    )
    compiled.emit("c", tmp_path / "c", flash=64 << 10, ram=16 << 10)
    frames = compiled.stimulus[:4].astype("int64")
    outcome = CBackend().verify(compiled.program, tmp_path / "c", frames, emulators=False)
    assert outcome.equal, outcome.details


def test_other_machines_are_found_by_compiler_and_emulator(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert [m.name for m in machines.others()] == [
        "arm in qemu",
        "riscv64 in qemu",
        "s390x in qemu",
    ]
    monkeypatch.setattr(shutil, "which", lambda name: None if name.startswith("qemu") else name)
    assert machines.others() == []
