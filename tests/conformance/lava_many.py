"""Runs many emitted folders in one Lava: ``python run.py JOBS.json -o DIR --synapses FORM``.

It takes the place of one folder's ``run.py``, so that the same supervisor starts and ends it. Lava
takes seconds to import, and a run of a small network a fraction of one. JOBS lists objects with
``folder`` (what was emitted), ``stimulus`` and ``traces``.
"""

import argparse
import importlib.util
import json
import logging
import sys
import time
from pathlib import Path

OWN = ("network", "layout", "compat", "processes")
"""Modules that every emitted folder has."""


def run(job, synapses):
    folder = Path(job["folder"])
    # Processes are the same in every folder, and Lava knows their models by module: they stay.
    sys.modules.pop("network", None)
    sys.path[0] = str(folder)
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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("jobs", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--synapses")
    args = parser.parse_args()
    logging.disable(logging.INFO)
    args.output.mkdir(parents=True, exist_ok=True)
    seconds = {}
    for job in json.loads(args.jobs.read_text()):
        begin = time.perf_counter()
        run(job, args.synapses)
        seconds[job["folder"]] = time.perf_counter() - begin
    (args.output / "run.json").write_text(json.dumps(seconds, indent=1))


if __name__ == "__main__":
    main()
