"""The network as Lava processes, built from what manifest.json and weights.npz say.

This file is the same for every network: names, shapes and numbers are data. ``manifest.json`` lists the
layers in the order in which they are made here, ``weights.npz`` has their arrays under ``NAME.ARRAY``.
A synapse takes one row, a neuron none: a population of depth d handles step t of stimulus n in row
n * n_steps + t + d (d windows later, where a layer listens for a window before it fires).
Python 3.10, numpy < 2, lava-nc 0.10.0, run configuration Loihi2SimCfg(select_tag="fixed_pt").
Processes that the manifest calls `stock` are Lava's own; those called `custom` are in
processes/neurons.py and probing/sink.py; streams/data.py has those that move data.
"""

from math import prod

from lava.proc.conv.process import Conv
from lava.proc.dense.process import Dense
from lava.proc.lif.process import LIFReset
from lava.proc.sparse.process import Sparse
from lava.utils.weightutils import SignMode

from layout import TABLES, connect, conv_kernel, dense_matrix, per_neuron, sparse_matrix, unrolled_conv
from probing.sink import PotentialSink
from processes import neurons
from streams.data import FileSink, FrameSource, ProbeSource, Tie

PROCESSES = {kind.__name__: kind for kind in (LIFReset, *neurons.Population.__subclasses__())}
"""What a population can be."""


def groups(manifest):
    """The synapse groups, in the order of the populations that they feed."""
    return [layer for layer in manifest["layers"] if "target" in layer]


def populations(manifest):
    """The populations, in topological order."""
    return [layer for layer in manifest["layers"] if "target" not in layer]


def synapses(group, w, form):
    """A synapse group as a stock process.

    Weights lie on Lava's MIXED grid: b-bit mantissas moved up by 9 - b bits, which weight_exp takes back
    after the sum. The sum is a multiple of that power of two, so nothing is lost. With ``form`` conv,
    convolutions that Lava's Conv can compute are left to it; all others are unrolled.
    """
    name, kind, shift = group["name"], group["kernel"], group["grid_shift"]
    source, target = tuple(group["source_shape"]), tuple(group["shape"])
    weight = w[f"{name}.weight"]
    if kind == "conv":
        stride, padding, dilation = (tuple(group[key]) for key in ("stride", "padding", "dilation"))
        if form == "conv" and group["conv_form"]:
            return Conv(
                name=name,
                weight=conv_kernel(weight, group["exponent"]),
                input_shape=source[::-1],
                stride=stride[::-1],
                padding=padding[1::-1],
                dilation=dilation[::-1],
                groups=group["groups"],
                num_message_bits=24,
            )
        matrix = unrolled_conv(weight, source, target, stride, padding, dilation, group["groups"], shift)
    elif kind == "dense":
        matrix = dense_matrix(weight, shift)
    else:
        matrix = sparse_matrix(w[f"{name}.indptr"], w[f"{name}.indices"], weight, prod(source), shift)
    process = Dense if kind == "dense" else Sparse
    return process(
        name=name,
        weights=matrix,
        sign_mode=SignMode.MIXED,
        num_weight_bits=group["num_weight_bits"],
        weight_exp=group["weight_exp"],
        num_message_bits=24,
    )


def population(layer, w):
    """A population as a process."""
    name, shape = layer["name"], tuple(layer["shape"])
    arrays = {key: per_neuron(w[f"{name}.{key}"], shape, key in TABLES) for key in layer["arrays"]}
    return PROCESSES[layer["process"]](name=name, shape=(prod(shape),), **layer["constants"], **arrays)


def sink(layer, process, n_rows, traces):
    """Record a population: what it sends or, of one that never fires, its potential."""
    where = {
        "name": f"{layer['name']}_trace",
        "shape": (prod(layer["shape"]),),
        "path": str(traces / layer["trace"]),
        "first_row": layer["first_row"],
        "n_rows": n_rows,
    }
    if layer["recorded"] == "s_out":
        process.s_out.connect(FileSink(form=layer["form"], **where).a_in)
    else:
        PotentialSink(**where).v.connect_var(process.v)


def build(manifest, w, frames, hold, n_stimuli, form, traces):
    """Make and connect everything; return a process to run.

    Arguments:
        manifest: the content of manifest.json.
        w: the arrays of weights.npz.
        frames: what the input sends, (number, inputs).
        hold: rows that each frame is for.
        n_stimuli: number of windows to record.
        form: "sparse" or "conv".
        traces: folder for the messages of every population.
    """
    entry = manifest["input"]
    once = entry["coding"] == "frame"
    senders = {}
    for delay in sorted({g["delay"] for g in groups(manifest) if g["source"] == entry["name"]}):
        # Held back so that it arrives together with what has passed through other layers.
        name = f"{entry['name']}_after_{delay}"
        senders[entry["name"], delay] = FrameSource(name=name, frames=frames, hold=hold, delay=delay, once=once)
    return wire(manifest, w, senders, n_stimuli, form, traces)


def wire(manifest, w, senders, n_stimuli, form, traces):
    """Make and connect everything behind the inputs, which ``senders`` has by name and delay.

    The other arguments, and what is returned, are those of ``build``.
    """
    n_rows = n_stimuli * manifest["n_steps"]
    for layer in populations(manifest):
        process = population(layer, w)
        for group in groups(manifest):
            if group["target"] == layer["name"]:
                sender = senders[group["source"], group["delay"]]
                connect(sender.s_out, tuple(group["source_shape"]), synapses(group, w, form), process.a_in)
        sink(layer, process, n_rows, traces)
        senders[layer["name"], 0] = process
    return senders[populations(manifest)[0]["name"], 0]


def build_probes(manifest, w, payloads, form, traces):
    """Every synapse group by itself, driven by payloads of its own, its sums written to a file.

    ``payloads`` maps groups to arrays (rows, sources); the trace of group g is ``g.i32``.
    """
    tie = Tie(name="tie")
    named = {group["name"]: group for group in groups(manifest)}
    for name, rows in payloads.items():
        group = named[name]
        source = ProbeSource(name=f"{name}_probe", frames=rows)
        source.tie.connect(tie.a_in)
        trace = FileSink(
            name=f"{name}_trace",
            shape=(prod(group["shape"]),),
            path=str(traces / f"{name}.i32"),
            form="i32",
            first_row=1,
            n_rows=len(rows),
        )
        connect(source.s_out, tuple(group["source_shape"]), synapses(group, w, form), trace.a_in)
    return tie
