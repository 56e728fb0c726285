"""Plug-ins from outside: found by entry points, held to their contracts, named when they fail."""

from __future__ import annotations

import doctest
import itertools
import json
import re
from textwrap import dedent

import numpy as np
import pytest

from snn_compile.bundle import CompiledModel
from snn_compile.cli import main
from snn_compile.errors import CompileError, CompileErrors, ModelError, Origin, PluginError
from snn_compile.hil import device
from snn_compile.plugins import (
    BACKENDS,
    DEVICES,
    FRONTENDS,
    HasSourceRuntime,
    SpikingFrontend,
    Verifiable,
    contracts,
    frontend_for,
)
from snn_compile.plugins.loading import complaints

NUMBERS = itertools.count()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a module with a class ``Plugin`` into a distribution of its own."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def installed(source, kind="backends", name="odd", distribution="odd-plugins"):
        module = f"odd_module_{next(NUMBERS)}"  # a name is imported once
        (tmp_path / f"{module}.py").write_text(dedent(source))
        info = tmp_path / f"{module}-0.3.dist-info"
        info.mkdir()
        said = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 0.3\n"
        (info / "METADATA").write_text(said)
        (info / "entry_points.txt").write_text(f"[snn_compile.{kind}]\n{name} = {module}:Plugin\n")

    return installed


def refused(plugins, name="odd", *arguments):
    with pytest.raises(CompileError) as caught:
        plugins.load(name, *arguments)
    error = caught.value
    errors = error.errors if isinstance(error, CompileErrors) else (error,)
    assert all(one.hint for one in errors)
    return error.code, [one.message for one in errors]


OLD = """
class Plugin:
    def check(self, program):
        return []

    def emit(self, program, folder, *, options):
        (folder / "names.txt").write_text(" ".join(node.id for node in program.graph))
"""
"""Keeps to the contract as it was before there were versions and ``Verifiable``."""


@pytest.mark.parametrize(("module", "n"), [(contracts, 12), (device, 2)])
def test_the_examples_in_the_contracts_run(module, n):
    known = {"BACKENDS": BACKENDS, "DEVICES": DEVICES, "FRONTENDS": FRONTENDS}
    known |= {"complaints": complaints, "ModelError": ModelError, "Origin": Origin}
    result = doctest.testmod(module, extraglobs=known)
    assert (result.failed, result.attempted) == (0, n)


@pytest.mark.parametrize(
    ("plugins", "arguments"), [(FRONTENDS, ()), (BACKENDS, ()), (DEVICES, ("", {}))]
)
def test_our_own_plugins_keep_their_contracts(plugins, arguments):
    wanted = {"faulty": "no-bias", "remote": "host", "replay": "file.npz"}
    for name in plugins.names():
        given = (wanted[name], {}) if name in wanted else arguments
        assert complaints(plugins.load(name, *given), plugins) == []


@pytest.fixture(scope="module")
def compiled(examples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugins") / "mlp.snn"
    line = [str(examples / "digits_mlp.onnx"), "-o", str(folder), "-q", "--no-emit"]
    assert main(line) == 0
    return CompiledModel.load(folder)


# A backend as before ----------------------------------------------------------------------------


def test_a_backend_that_cannot_verify_is_not_compared(install, examples, tmp_path, capsys):
    install(OLD)
    folder = tmp_path / "mlp.snn"
    model = str(examples / "digits_mlp.onnx")
    assert main([model, "-o", str(folder), "-q", "--emit", "odd"]) == 0
    assert (folder / "odd" / "names.txt").read_text()
    capsys.readouterr()
    assert main(["verify", str(folder), "--stimuli", "2", "-q"]) == 0
    out = capsys.readouterr().out
    assert "not compared" in out
    assert "odd: the backend cannot run its output" in out
    report = json.loads((folder / "report.json").read_text())
    assert [row["equal"] for row in report["verification"] if row["against"] == "odd"] == [None]


def test_a_backend_that_cannot_verify_leaves_every_vector_out(install, tmp_path, capsys):
    install(OLD)
    assert main(["conformance", str(tmp_path / "set"), "-q"]) == 0
    capsys.readouterr()
    line = ["conformance", str(tmp_path / "set"), "--backend", "odd", "--only", "single", "--json"]
    assert main([*line, "-q"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["vectors"]
    assert (row["verdict"], row["why"]) == ("excluded", "the backend cannot run its output")


# What is not loaded -----------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2", "0", "'1'", "None", "True"])
def test_another_version_of_the_contract_is_refused(install, version):
    install(f"class Plugin:\n    contract_version = {version}")
    code, (message,) = refused(BACKENDS)
    assert code == "unknown-contract"
    assert message.startswith("the backend 'odd' (odd-plugins 0.3) was written for version ")


def test_a_version_that_is_known_is_loaded(install):
    install(OLD + "    contract_version = 1\n")
    assert BACKENDS.load("odd").check(None) == []


def test_an_answer_may_be_none_where_the_contract_says_so(install):
    status = "    def environment_status(self): return None\n"
    install(OLD + status + "    def create_environment(self): return 3\n")
    backend = BACKENDS.load("odd")
    assert backend.environment_status() is None
    assert backend.create_environment() == 3


WRONG = {
    "has no method 'check'": "class Plugin:\n    def emit(self, a, b, *, options): ...",
    "has no method 'emit'": "class Plugin:\n    def check(self, a): ...",
    "'emit' that cannot be called": OLD.replace(", *, options", ""),
    "too many positional arguments": OLD.replace("check(self, program)", "check(self)"),
    "missing a required argument: 'more'": OLD.replace("(self, program)", "(self, program, more)"),
    "'verify' that cannot be called": OLD + "    def verify(self, program, folder): ...\n",
    "cannot be loaded: AttributeError": "plugin = 1",
    "cannot be loaded: No module named": "import nothing_of_that_name",
    "cannot be loaded: ZeroDivisionError: division by zero": "1 / 0",
    "cannot be loaded: SyntaxError": "class",
    "cannot be loaded: TypeError": "class Plugin:\n    def __init__(self, more): ...",
}


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_keep_its_contract_is_not_loaded(install, what):
    install(WRONG[what])
    code, messages = refused(BACKENDS)
    assert code == "broken-backend"
    assert all("the backend 'odd' (odd-plugins 0.3) " in message for message in messages)
    assert any(what in message for message in messages)


def test_all_that_is_missing_is_said_at_once(install):
    install("class Plugin: ...")
    _, messages = refused(BACKENDS)
    assert [message.rpartition(" ")[2] for message in messages] == ["'check'", "'emit'"]


@pytest.mark.parametrize(
    ("suffixes", "what"),
    [("'.odd'", "'suffixes' is a text, not a list"), ("(1,)", "'suffixes[0]' is a whole number")],
)
def test_suffixes_are_texts(install, suffixes, what):
    install(f"class Plugin:\n    suffixes = {suffixes}\n    def read(self, path): ...", "frontends")
    _, (message,) = refused(FRONTENDS)
    assert what in message


def test_a_device_without_a_method_is_not_loaded(install):
    source = "class Plugin:\n    def __init__(self, argument, options): ...\n"
    install(source + "    def load(self, program, folder): ...", "devices")
    code, messages = refused(DEVICES, "odd", "", {})
    assert code == "broken-device"
    assert [message.rpartition(" ")[2] for message in messages] == ["'run'", "'close'"]


@pytest.mark.parametrize("name", ["golden", "engine", "Odd", "o d", "../odd", "-odd", "a" * 65])
def test_a_backend_has_the_name_of_a_folder(install, name):
    install(OLD, name=name)
    code, (message,) = refused(BACKENDS, name)
    assert code == "broken-backend"
    assert "a name that is not allowed" in message


def test_two_plugins_of_one_name_are_refused(install):
    install(OLD)
    install(OLD, distribution="more-plugins")
    code, (message,) = refused(BACKENDS)
    assert code == "ambiguous-backend"
    assert "odd-plugins 0.3" in message
    assert "more-plugins 0.3" in message


# Frontends --------------------------------------------------------------------------------------

READS = "class Plugin:\n    suffixes = ('{}',)\n    def read{}: ..."


def test_frontends_are_what_their_methods_say(install, tmp_path):
    install(READS.format(".odd", "(self, path)"), "frontends")
    install(READS.format(".odder", "_spiking(self, path, options)"), "frontends", "odder", "more")
    plain, spiking = (frontend_for(tmp_path / f"net.{end}") for end in ("ODD", "odder"))
    assert [isinstance(one, SpikingFrontend) for one in (plain, spiking)] == [False, True]
    assert not isinstance(plain, HasSourceRuntime)
    assert plain.suffixes == (".odd",)


def test_two_frontends_for_one_suffix_are_refused(install, tmp_path):
    install(READS.format(".nir", "(self, path)"), "frontends")
    with pytest.raises(CompileError, match=r"'\.nir' are read by nir and by odd") as caught:
        frontend_for(tmp_path / "net.nir")
    assert caught.value.code == "ambiguous-frontend"


def test_a_broken_frontend_is_in_nobodys_way(install, tmp_path):
    install("import nothing_of_that_name", "frontends")
    assert ".onnx" in frontend_for(tmp_path / "net.onnx").suffixes
    with pytest.raises(CompileError, match="nothing_of_that_name") as caught:
        frontend_for(tmp_path / "net.unknown")
    assert caught.value.code == "broken-frontend"


# Mistakes ---------------------------------------------------------------------------------------

FAILS = """
class Plugin:
    more = 7

    def check(self, program):
        {check}

    def emit(self, program, folder, *, options):
        {emit}

    def verify(self, program, folder, frames, *, time_limit, progress):
        {verify}
"""


def fails(**methods):
    return FAILS.format(**{"check": "return []", "emit": "pass", "verify": "pass", **methods})


MISTAKES = {
    "failed in 'check' (*.py, line 6): ZeroDivisionError: division by zero": {"check": "1 / 0"},
    "failed: 'check' returned NoneType, not list": {"check": "pass"},
    "failed in 'emit' (*.py, line 9): AssertionError": {"emit": "assert options"},
    "failed in 'emit' (*.py, line 9): ConnectionError: nobody there": {
        "emit": "raise ConnectionError('nobody there')"
    },
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_names_the_plugin(install, examples, tmp_path, what, capsys):

    install(fails(**MISTAKES[what]))
    line = [str(examples / "digits_mlp.onnx"), "-o", str(tmp_path / "out"), "-q", "--emit", "odd"]
    assert main(line) == 1
    err = capsys.readouterr().err
    said = re.sub(r"odd_module_\d+", "*", err)
    assert f"error[plug-in-failed]: the backend 'odd' (odd-plugins 0.3) {what}" in said
    assert "internal error" not in err
    assert not (tmp_path / "out").exists()


def test_a_mistake_has_its_traceback(install, compiled):
    install(fails(verify="frames.nothing"))
    backend = BACKENDS.load("odd")
    assert isinstance(backend, Verifiable)
    with pytest.raises(
        PluginError, match=r"failed in 'verify' \(.*line 12\): AttributeError"
    ) as caught:
        backend.verify(compiled.program, None, np.zeros(1), time_limit=1.0, progress=None)
    assert isinstance(caught.value.__cause__, AttributeError)


@pytest.mark.parametrize("kind", ["MemoryError()", "OSError(28, 'full', 'file')"])
def test_what_the_machine_lacks_is_no_mistake(install, kind):
    install(fails(check=f"raise {kind}"))
    with pytest.raises((MemoryError, OSError)):
        BACKENDS.load("odd").check(None)


def test_what_a_plugin_refuses_stays_as_it_says(install):
    install(fails(check="from snn_compile.errors import UsageError; raise UsageError('no')"))
    with pytest.raises(CompileError, match="no") as caught:
        BACKENDS.load("odd").check(None)
    assert not isinstance(caught.value, PluginError)


def test_what_no_contract_asks_for_is_there_all_the_same(install):
    install(fails())
    assert BACKENDS.load("odd").more == 7


DEVICE = """
class Plugin:
    def __init__(self, argument, options):
        self.argument = argument

    def load(self, program, folder):
        from snn_compile.hil.device import Capabilities
        return Capabilities()

    def run(self, frames, time_limit):
        yield 1
        raise ValueError("the board is on fire")

    def close(self):
        pass
"""


def test_a_device_that_fails_while_it_runs_is_named(install, compiled):
    install(DEVICE, "devices")
    pieces = DEVICES.load("odd", "", {}).run(compiled.stimulus, 1.0)
    assert next(pieces) == 1
    with pytest.raises(CompileError, match=r"'odd' \(odd-plugins 0\.3\) failed in 'run'") as caught:
        next(pieces)
    assert (caught.value.code, caught.value.exit_code) == ("device-crashed", 8)
    assert "the board is on fire" in caught.value.message
