"""Shells complete commands, options, values and files; quickly, since nothing heavy is imported."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"numpy", "onnx", "scipy", "torch", "rich", "jinja2"}
BIN = Path(sys.executable).parent
CASES = {
    "snn-compile com": {"compare", "compile", "completion"},
    "snn-compile hil x --device re": {"reference", "remote", "replay"},
    "snn-compile m.onnx --input ": {"current", "poisson", "graded", "events"},
    "snn-compile check m.onnx --weight-bits ": {"auto"},
    "snn-compile digits_c": {"digits_cnn.onnx"},
    "snn-compile compile --thresh": {"--thresholds"},
}
BASH = """\
eval "$(snn-compile completion bash)"
IFS=$'\\t'
while read -r -a COMP_WORDS; do
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()
  [[ ${COMP_WORDS[-1]} = . ]] && COMP_WORDS[-1]=""
  compopt() { COMPREPLY+=($(compgen -f -- "${COMP_WORDS[-1]}")); }
  _snn_compile_completion snn-compile < /dev/null
  (IFS=' '; echo "${COMPREPLY[*]}")
done
"""
ZSH = """\
compdef() { }
eval "$(snn-compile completion zsh)"
_describe() { for one in "${(@P)3}"; do found+=("${one%%:*}"); done }
compadd() { found+=("${(@P)@[-1]}") }
_path_files() { found+=(${words[-1]}*(N)) }
while IFS= read -r line; do
  words=("${(@s:\t:)line}"); found=(); CURRENT=${#words}
  [[ $words[-1] = . ]] && words[-1]=""
  _snn_compile_completion < /dev/null
  print -r -- $found
done
"""
FISH = """\
snn-compile completion fish | source
while read line
  echo (complete -C $line < /dev/null | string replace -r '\\t.*' '')
end
true
"""


def complete(shell: list[str], lines: list[str], folder: Path) -> list[set[str]]:
    """What a shell offers at the end of some lines."""
    environment = {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(folder)}
    done = subprocess.run(
        shell,
        input="\n".join([*lines, ""]),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return [set(line.split()) for line in done.stdout.splitlines()]


@pytest.mark.skipif(not (BIN / "snn-compile").exists(), reason="the project is not installed")
@pytest.mark.parametrize(
    ("shell", "script"),
    [
        ("bash", BASH),
        pytest.param("zsh", ZSH, marks=pytest.mark.slow),
        pytest.param("fish", FISH, marks=pytest.mark.slow),
    ],
)
def test_a_shell_completes(shell: str, script: str, tmp_path: Path) -> None:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"no {shell}")
    for name in ("digits_cnn.onnx", "other.onnx"):
        (tmp_path / name).touch()
    lines = list(CASES)
    if shell != "fish":  # words by tabs; an empty last one, which ``read`` would drop, as a dot
        lines = ["\t".join(word or "." for word in line.split(" ")) for line in lines]
    offered = complete([found, "-c", script], lines, tmp_path)
    for line, expected, got in zip(CASES, CASES.values(), offered, strict=True):
        assert expected <= got, line
        if not line.endswith(" "):
            begun = line.split()[-1]
            assert all(word.startswith(begun) for word in got), line


@pytest.mark.skipif(not (BIN / "snn-compile").exists(), reason="the project is not installed")
def test_nobody_waits_for_what_completion_does_not_need() -> None:
    line = "snn-compile m.onnx --coding "
    environment = {
        "_SNN_COMPILE_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": "3",
        "PATH": "/usr/bin:/bin",
    }
    call = [sys.executable, "-X", "importtime", BIN / "snn-compile"]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=True)
    lines = [line.split("|") for line in done.stderr.splitlines() if line.count("|") == 2]
    imported = {name.strip().split(".")[0] for _, _, name in lines}
    assert "plain,rate" in done.stdout.splitlines()
    assert "snn_compile" in imported
    assert not imported & HEAVY
