"""Run the emitted network in Lava.

    python run.py stimulus.npz -o traces [--synapses sparse|conv] [--probes probes.npz]
                     [--hardware loihi2|loihi1]

Needs Python 3.10 with ``numpy<2`` and ``lava-nc==0.10.0``, nothing else. The stimulus file holds either
``frames`` (N, *input shape), encoded values, or ``messages`` (N, n_steps, *input shape), what the input
sends step by step. Everything is streamed through one Lava run.
``--hardware`` runs on a chip in place of Lava's simulation, and needs Intel's own lava-loihi extension
(exit status 8 without). Where the chip is, the environment says: SLURM=1 with PARTITION or BOARD, or
NOSLURM=1 with NXSDKHOST and HOST_BINARY; and LOIHI_GEN, its generation.
The traces are one raw file a population (see manifest.json) and ``outputs.npz``.
"""

import argparse
import json
import logging
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
NO_CHIP = 8
"""Exit status where a chip is asked for and Lava's extension for chips is missing."""
GENERATIONS = {"loihi2": "N3B3", "loihi1": "N2A2"}
"""Of the usual boards, as LOIHI_GEN names them; the environment's own LOIHI_GEN wins."""
LOOK_SECONDS = 0.5


def arguments():
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stimulus", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, help="an existing folder or a new one")
    parser.add_argument("--synapses", choices=("sparse", "conv"),
                        help="convolutions as unrolled Sparse matrices (fast) or as stock Conv processes; "
                             "by default as manifest.json says")
    parser.add_argument("--probes", type=Path,
                        help="a file with one array (rows, sources) for each synapse group: afterwards, drive "
                             "every group by itself and write its sums")
    parser.add_argument("--hardware", choices=("loihi2", "loihi1"), help="run on a chip of this generation")
    return parser.parse_args()


def streamed(stimulus, manifest):
    """Input messages as (frames, n_inputs), rows that each is held for, number of stimuli."""
    n_steps = manifest["n_steps"]
    if "messages" in stimulus:
        messages = stimulus["messages"]
        if messages.shape[1] != n_steps:
            sys.exit(f"messages have {messages.shape[1]} steps, the network has {n_steps}")
        return messages.reshape(len(messages) * n_steps, -1), 1, len(messages)
    if manifest["input"]["coding"] == "poisson":
        sys.exit("this network takes Poisson spikes: give them as 'messages', not as 'frames'")
    frames = stimulus["frames"].reshape(len(stimulus["frames"]), -1)
    if manifest["input"]["coding"] == "changes":  # the first frame differs from zeros
        frames = np.diff(frames.astype(np.int64), axis=0, prepend=0)
    return frames, n_steps, len(frames)


def configuration(hardware):
    """Which of Lava's process models to run, and where."""
    from lava.magma.core import run_configs

    if not hardware:
        return run_configs.Loihi2SimCfg(select_tag="fixed_pt")
    chips = {"loihi2": run_configs.Loihi2HwCfg, "loihi1": run_configs.Loihi1HwCfg}
    return chips[hardware](select_tag="fixed_pt")


def require_chip(hardware):
    """See that Lava can reach a chip, and name its generation if the environment does not.

    Without Intel's extension, the configuration of a chip would end with a NameError.
    """
    from lava.utils import loihi

    if not loihi.is_installed():
        print("there is no lava-loihi extension in this environment: Lava cannot reach a chip", file=sys.stderr)
        sys.exit(NO_CHIP)
    os.environ.setdefault("LOIHI_GEN", GENERATIONS[hardware])


def look_again():
    """Have Lava's processes look for commands every now and then, not only when they are told of one.

    In Lava 0.10.0 a process can miss that it was told: it waits for ever, the command before it, and
    everybody else waits for its answer.
    """
    from threading import Condition

    from lava.magma.compiler.channels import pypychannel

    class Impatient(Condition):
        def wait(self, timeout=None):
            return super().wait(LOOK_SECONDS if timeout is None else timeout)

    pypychannel.Condition = Impatient


def recurse_deeper(manifest):
    """Let Lava's compiler recurse once for each process: it flattens its list of them that way."""
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 1000 + 4 * len(manifest["layers"])))


def drive(process, n_rows, hardware):
    """Run everything connected to a process for a number of rows, and always stop it."""
    from lava.magma.core.run_conditions import RunSteps

    config = configuration(hardware)
    begin = time.perf_counter()
    try:
        process.run(condition=RunSteps(num_steps=1), run_cfg=config)
        started = time.perf_counter()
        if n_rows > 1:
            process.run(condition=RunSteps(num_steps=n_rows - 1), run_cfg=config)
        return {"start_seconds": started - begin, "run_seconds": time.perf_counter() - started}
    finally:
        process.stop()


def outputs(manifest, folder, n_stimuli):
    """The potential of every readout at the last step of each window."""
    result = {}
    for layer in manifest["layers"]:
        if layer["node"].endswith("Readout"):
            trace = np.fromfile(folder / layer["trace"], "<i4")
            trace = trace.reshape(n_stimuli, manifest["n_steps"], *layer["shape"])
            result[layer["name"]] = trace[:, -1]
    return result


def stream(args, manifest, weights):
    """Run the network on all stimuli; what there is to say about it."""
    import network

    frames, hold, n_stimuli = streamed(arrays(args.stimulus), manifest)
    n_rows = n_stimuli * manifest["n_steps"] + manifest["drain"]
    process = network.build(manifest, weights, frames, hold, n_stimuli, args.synapses, args.output)
    timing = drive(process, n_rows, args.hardware)
    np.savez(args.output / "outputs.npz", **outputs(manifest, args.output, n_stimuli))
    return {"rows": n_rows, **timing}


def probe(args, manifest, weights):
    """Drive every synapse group by itself; what there is to say about it."""
    import network

    payloads = arrays(args.probes)
    folder = args.output / "probes"
    folder.mkdir(exist_ok=True)
    n_rows = 1 + max(len(rows) for rows in payloads.values())
    process = network.build_probes(manifest, weights, payloads, args.synapses, folder)
    return {"rows": n_rows, **drive(process, n_rows, args.hardware)}


def arrays(path):
    """All arrays of an npz file."""
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def main():
    """Run it."""
    args = arguments()
    sys.path.insert(0, str(HERE))  # an isolated interpreter does not look beside its script
    try:
        import lava.proc.lif.process  # noqa: F401
    except ImportError as error:
        sys.exit(f"Lava cannot be imported ({error}): use Python 3.10 with 'numpy<2' and 'lava-nc==0.10.0'")
    if args.hardware:
        require_chip(args.hardware)
    logging.disable(logging.INFO)
    look_again()
    manifest = json.loads((HERE / "manifest.json").read_text())
    recurse_deeper(manifest)
    args.output.mkdir(parents=True, exist_ok=True)
    args.synapses = args.synapses or manifest["synapses"]
    weights = arrays(HERE / "weights.npz")
    versions = {"python": platform.python_version(), "numpy": np.__version__, "lava-nc": version("lava-nc")}
    facts = {"synapses": args.synapses, "versions": versions, "stream": stream(args, manifest, weights)}
    if args.probes:
        facts["probes"] = probe(args, manifest, weights)
    (args.output / "run.json").write_text(json.dumps(facts, indent=1))
    streamed_run = facts["stream"]
    print(f"{streamed_run['rows']} rows in {streamed_run['run_seconds']:.1f} s; traces in {args.output}")


if __name__ == "__main__":
    main()
