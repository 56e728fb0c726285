"""Runs many emitted folders in one Lava: ``python run.py JOBS.json -o DIR --synapses FORM``.

It takes the place of one folder's ``run.py``, so that the same supervisor starts and ends it. Lava
takes seconds to import, and a run of a small network a fraction of one. JOBS lists objects with
``folder`` (what was emitted), ``stimulus`` and ``traces``. Each runs in a fork of its own, which
finds Lava imported and nothing of the other folders: their processes may differ.
"""

import argparse
import gc
import importlib.util
import json
import logging
import os
import sys
import traceback
from pathlib import Path

import lava.magma.core.run_configs
import lava.proc.conv.models
import lava.proc.dense.models
import lava.proc.lif.models
import lava.proc.sparse.models  # noqa: F401


def run(job, synapses):
    folder = Path(job["folder"])
    sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location("emitted_run", folder / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    traces = Path(job["traces"])
    traces.mkdir(parents=True)
    args = argparse.Namespace(
        stimulus=Path(job["stimulus"]), output=traces, synapses=synapses, hardware=None
    )
    manifest = json.loads((folder / "manifest.json").read_text())
    module.stream(args, manifest, module.arrays(folder / "weights.npz"))


def in_a_fork(job, synapses):
    """The exit status of a process that runs a job."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        run(job, synapses)
        status = 0
    finally:
        if status:
            traceback.print_exc()
        os._exit(status)  # what is to be done at the end is the parent's


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("jobs", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--synapses")
    args = parser.parse_args()
    logging.disable(logging.INFO)
    args.output.mkdir(parents=True, exist_ok=True)
    # Collecting garbage touches, and so copies, the memory that Lava's many processes share.
    gc.freeze()
    gc.disable()
    failed = [
        job["folder"] for job in json.loads(args.jobs.read_text()) if in_a_fork(job, args.synapses)
    ]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
    (args.output / "run.json").write_text("{}")


if __name__ == "__main__":
    main()
