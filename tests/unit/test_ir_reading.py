"""What the reader of texts makes of what is no network, and of what a person writes by hand."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import networks
from snn_compile import memory
from snn_compile.errors import CompileError, CompileErrors, ModelError, Origin, UsageError
from snn_compile.ir import spelling
from snn_compile.ir.graph import NodeId
from snn_compile.ir.reading import MAX_COMPLAINTS, load_text
from snn_compile.ir.spelled import Scanner
from snn_compile.ir.text import dump_text

TINY = """\
# two neurons, by hand
snn-text 1 QuantizedGraph window=("rate",3)
  x: Input 2 format=u8 low=0 high=255 coding=current

  x/synapses: DenseSynapses 2 <- x weight=s8[2x2: 1,-2,3,4] exponent=0
  fire: IFNeurons 2 <- x/synapses bias=u1[0,0] threshold=u4[9,9] initial_potential=u1[0] reset=zero
  "y 1": DenseSynapses 1 <- fire weight=s2[1x2: 1,1] exponent=0
  y: Readout 1 <- "y 1" bias=u1[0]
"""


def refused(text, arrays=None):
    """The complaints about a text: (line, column, message)."""
    with pytest.raises(ModelError) as caught:
        load_text(text, "net.snt", arrays)
    return parts([caught.value])


def parts(errors):
    found = []
    for error in errors:
        assert error.code == "bad-text"
        assert error.hint
        file, line, column = str(error.origin).split(":")
        assert file == "net.snt"
        found.append((int(line), int(column), error.message))
    return found


def all_refused(text):
    with pytest.raises(CompileErrors) as caught:
        load_text(text, "net.snt")
    return parts(caught.value.errors)


def test_a_network_by_hand():
    """Comments and blank lines, defaults left out, an id with a blank, origins made up."""
    program = load_text(TINY, "tiny.snt")
    fire = program.graph[NodeId("fire")]
    assert fire.state.bits == 24
    assert fire.burst == 1
    assert fire.origin == Origin("tiny.snt", "fire", "IFNeurons")
    assert [node.id for node in program.readouts] == ["y"]
    assert load_text(dump_text(program)).graph[NodeId("fire")].origin == fire.origin


def test_nodes_may_stand_in_any_order():
    head, *lines = TINY.splitlines()[1:]
    shuffled = "\n".join([head, *reversed(lines)])
    assert dump_text(load_text(shuffled, "f")) == dump_text(load_text(TINY, "f"))


@pytest.mark.parametrize(
    ("before", "after", "at", "message"),
    [
        ("snn-text 1", "ANNGraph", "ANNGraph", "expected 'snn-text 1' and a stage, not 'ANNGraph"),
        ("snn-text 1", "snn-text 2", "2 Q", "version 2 is not supported, only 1"),
        ("QuantizedGraph", "Quantum", "Quantum", "unknown stage 'Quantum'"),
        ('("rate",3)', '("rate")', '("rate")', "window: 1 of 2 entries"),
        ('"rate",3', '"sigma-delta",3', '("sig', "window: a frame of 'sigma-delta' is one step"),
        ("IFNeurons", "IfNeurons", "IfN", "unknown operator 'IfNeurons' in this stage"),
        ("fire: IF", "fire IF", " IF", "expected ': ' and an operator"),
        ("exponent=0\n  f", "exponent=0 xp=1\n  f", "xp", "DenseSynapses: unknown field 'xp'"),
        ("reset=zero", "reset=zero reset=zero", "reset=", "IFNeurons: duplicate field 'reset'"),
        (" reset=zero", "", "IFN", "IFNeurons: missing field 'reset'"),
        ("reset=zero", "reset=none", "none", "reset: 'none' is not one of subtract, zero"),
        ("high=255", "high=25.5", ".5", "high: this belongs to no value"),
        ("u4[9,9]", "u4[9,19]", "u4[9", "threshold: values 9..19 do not fit u4"),
        ("u4[9,9]", "u4[9,x]", "x]", "threshold: 'x' is not a number of type int64"),
        ("u4[9,9]", "u99[9,9]", "u99", "threshold: a format has 1 to 63 bits, not 99"),
        ("1,-2,3,4", "1,-2,3", "[2x2", "weight: 3 numbers do not match the shape 2x2"),
        ("[2x2: 1", "[2xx: 1", "2xx", "weight: '2xx' is not a shape"),
        ("<- fire", "<- fier", "fier", "undefined node 'fier'"),
        ("  y: R", "  x: R", "  x: R", "duplicate id 'x', first in line 3"),
        ("Readout 1", "Readout 2", "  y: R", "synapses into 'y' have other shapes"),
        ("<- x weight", "<- y weight", "snn-text", "the graph has a cycle"),
        ('"y 1": D', '"y 1: D', '"y 1', "expected a text in quotation marks"),
        ("s2[1x2: 1,1]", "s2[1x2 #ab]", "[1x2 #ab", "weight: missing array #ab"),
    ],
)
def test_a_complaint_says_where_and_what(before, after, at, message):
    assert before in TINY
    text = TINY.replace(before, after, 1)
    ((line, column, said),) = refused(text)
    assert said.startswith(message)
    place = text.splitlines()[line - 1][column - 1 :]
    assert place.startswith(at), place


def test_all_complaints_come_at_once():
    text = TINY.replace("reset=zero", "reset=never").replace("Readout", "ReadOut")
    text = text.replace("exponent=0", "exponent=zero")
    assert [line for line, _, _ in all_refused(text)] == [5, 6, 7, 8]


def test_a_flood_of_complaints_is_cut():
    lines = [f"  n{k}: Nothing 1" for k in range(99)]
    found = all_refused("snn-text 1 ANNGraph\n" + "\n".join(lines))
    assert len(found) == MAX_COMPLAINTS
    assert found[-1][2].endswith(f"(and {99 - MAX_COMPLAINTS} more errors)")


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "\0", "snn-text", "\u2028"])
def test_no_network_at_all(text):
    assert refused(text)[0][0] == 1


def test_an_array_that_was_changed_is_refused():
    program, _ = networks.structures(1, "graded", 1)
    arrays: dict = {}
    text = dump_text(program, arrays)
    name = next(iter(arrays))
    assert f"#{name}]" in text
    arrays[name] = arrays[name] + 1
    assert f"array #{name} does not match its hash" in refused(text, arrays)[0][2]
    arrays[name] = arrays[name].astype(np.int32)
    assert "has type int32" in refused(text, arrays)[0][2]


@pytest.mark.parametrize(
    "line",
    [
        "a" * 200_000,
        "  a: Input 1" + " x=(" * 60_000,
        "  a: Input 1 " + '"' * 200_001,
        "  a: Input 1 x=[" + "[" * 200_000,
        "  a: Input " + "1x" * 100_000 + "1",
        "  a: Input 1 x=" + "(" * 200_000,
        "  a: Input 1 <- " + "a, " * 70_000,
        "  a: Slice 1 slices=(" + "1:2:3," * 40_000 + ")",
        "  a: Concat 1 axis=" + "9" * 200_000,
        "  a: Relu 1 cap=" + "9" * 200_000,
    ],
    ids=lambda line: line[:24],
)
def test_a_hostile_line_takes_no_time(line):
    """Compared with an ordinary text as long: what is quadratic in the length takes minutes."""

    def seconds(text):
        start = time.process_time()
        with pytest.raises(ModelError) as caught:
            load_text(f"snn-text 1 ANNGraph\n{text}\n", "net.snt")
        assert caught.value.code == "bad-text"
        assert len(str(caught.value)) < 2000
        return time.process_time() - start

    ordinary = [f"  a{k}: Relu 1 <- a{k - 1}" for k in range(1, 8000)]  # a0 is missing
    assert seconds(line) < 20 * seconds("\n".join(ordinary))


def test_a_text_has_to_fit_the_memory():
    memory.limit_to(1000)
    try:
        with pytest.raises(UsageError, match="takes 1000 bytes") as caught:
            load_text("#" * 1000, "net.snt")
    finally:
        memory.limit_to(None)
    assert caught.value.code == "too-large"


@pytest.mark.parametrize(
    ("bits", "dtype", "text"),
    [
        (0x3FB999999999999A, np.float64, "0.1"),
        (0x8000000000000000, np.float64, "-0.0"),
        (1, np.float64, "5e-324"),
        (0x7FF0000000000000, np.float64, "inf"),
        (0x7FF8000000000000, np.float64, "nan"),
        (0x7FF8000000000001, np.float64, "0x7ff8000000000001"),
        (0xFFF8000000000000, np.float64, "0xfff8000000000000"),
        (0x3DCCCCCD, np.float32, "0.1"),
        (0x7FC00001, np.float32, "0x7fc00001"),
        (0x2E66, np.float16, "0.1"),
    ],
)
def test_a_number_keeps_its_bits(bits, dtype, text):
    value = np.array([bits], f"u{np.dtype(dtype).itemsize}").view(dtype)
    assert spelling.floats(value) == [text]
    array = f"{np.dtype(dtype).name}[{text}]"
    assert spelling.spell(value) == array
    read = Scanner(array, {}).value(npt.NDArray[np.floating])
    assert read.dtype == dtype
    assert read.tobytes() == value.tobytes()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_a_damaged_text_is_a_network_or_refused(seed):
    """Digits, words and lines changed at random: never any other error."""
    random = np.random.default_rng(seed)
    text = TINY
    for _ in range(random.integers(1, 4)):
        place, length = int(random.integers(len(text))), int(random.integers(4))
        piece = str(random.choice(["", "0", "-", "99999999999", "x", ":", '"', "\n", "(", "y"]))
        text = text[:place] + piece + text[place + length :]
    code = "bad-text"
    try:
        program = load_text(text, "net.snt")
    except CompileError as error:
        code = error.code
    else:
        assert dump_text(load_text(dump_text(program))) == dump_text(program)
    assert code == "bad-text"
