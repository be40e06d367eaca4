"""Large and interrupted fits of silicon (Zuo et al., J. Phys. Chem. A 124, 731 (2020)).

    python validation/fit_scale.py large MLEARN_FOLDER [--memory 4GB] [--threads 2] [--n-sparse 5000] [--copies 5]
    python validation/fit_scale.py interrupted MLEARN_FOLDER [--kills 10]

`large` fits the training frames several times over (199,500 observations with five copies) with so many sparse points within
a limit of memory, and prints time and peak memory beside the estimate made before; status 1 if the peak exceeds the limit or
either is more than 25 % off. `interrupted` kills a fit at random moments and resumes it, and fits with two MPI ranks; status 1
if a prediction on the test set differs from that of a fit in peace by more than 1e-8 (eV, eV/A, eV).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
from table_fit import published_settings

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
PROGRAM = """
import json, sys
from soapgap.fitting import fit
content, options = json.loads(sys.argv[1]), json.loads(sys.argv[2])
result = fit(content, **options)
print("MEASURED", json.dumps({"planned_seconds": result.planned_seconds, "seconds": result.seconds,
    "planned_bytes": result.planned_bytes, "peak_bytes": result.peak_bytes, "test": result.errors["test"]["all"]}), flush=True)
"""


def command(content: dict, options: dict, n_ranks: int = 1) -> list[str]:
    """A fit in a process of its own."""
    launcher = []
    if n_ranks > 1:
        beside = Path(sys.executable).parent / "mpiexec"
        launcher = [str(beside) if beside.exists() else shutil.which("mpiexec"), "-n", str(n_ranks)]
    return [*launcher, sys.executable, "-c", PROGRAM, json.dumps(content), json.dumps(options)]


def large(options) -> bool:
    """Time and memory of a large fit beside its estimate."""
    with tempfile.TemporaryDirectory() as place:
        content = published_settings(options.folder, str(Path(place) / "large.safetensors"), "equispaced", 0)
        content["data"]["train"] = [content["data"]["train"]] * options.copies
        content["terms"][0]["n_sparse"] = options.n_sparse
        start = time.perf_counter()
        done = subprocess.run(command(content, {"threads": options.threads, "memory": options.memory}), env=ENVIRONMENT,
                              stdout=subprocess.PIPE, text=True, check=True)
        total = time.perf_counter() - start
    print(done.stdout)
    measured = json.loads(done.stdout.split("MEASURED", 1)[1])
    from soapgap.learn.usage import as_bytes

    time_ratio = measured["seconds"]["design matrix and QR"] / measured["planned_seconds"]
    memory_ratio = measured["peak_bytes"] / measured["planned_bytes"]
    print(f"{total:.0f} s in all; design matrix and QR {measured['seconds']['design matrix and QR']:.0f} s, planned "
          f"{measured['planned_seconds']:.0f} s, ratio {time_ratio:.2f}; peak {measured['peak_bytes'] / 2**30:.2f} GB, planned "
          f"{measured['planned_bytes'] / 2**30:.2f} GB, ratio {memory_ratio:.2f}, limit {options.memory}")
    return (measured["peak_bytes"] <= as_bytes(options.memory) and abs(time_ratio - 1.0) <= 0.25
            and abs(memory_ratio - 1.0) <= 0.25)


def interrupted(options) -> bool:
    """Predictions after kills and with two ranks beside those of a fit in peace."""
    import numpy as np

    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as place:
        contents = {name: published_settings(options.folder, str(Path(place) / f"{name}.safetensors"), "equispaced", 0)
                    for name in ("peace", "killed", "ranks")}
        start = time.perf_counter()
        subprocess.run(command(contents["peace"], {"threads": 1, "quiet": True}), env=ENVIRONMENT, check=True)
        whole = time.perf_counter() - start
        print(f"in peace: {whole:.1f} s")
        state = Path(place) / "killed.safetensors.fit"
        kills = 0
        while kills < options.kills:
            child = subprocess.Popen(command(contents["killed"], {"threads": 1}), env=ENVIRONMENT, stdout=subprocess.PIPE,
                                     text=True)
            wait = rng.uniform(1.0, 0.6 * whole)
            time.sleep(wait)
            if child.poll() is not None:
                child.communicate()
                print(f"ended before it was killed, after {kills} kills: started again")
                Path(place, "killed.safetensors").unlink()
                state.unlink()
                continue
            child.send_signal(signal.SIGKILL)
            said = [line for line in child.communicate()[0].splitlines() if "continuing from there" in line]
            kills += 1
            print(f"killed after {wait:5.1f} s, begun at {said[0].split(' after ')[1].split(':')[0] if said else '0'}")
        subprocess.run(command(contents["killed"], {"threads": 1, "quiet": True}), env=ENVIRONMENT, check=True)
        subprocess.run(command(contents["ranks"], {"threads": 1, "quiet": True}, 2), env=ENVIRONMENT, check=True)
        return _same_predictions(options.folder, Path(place), ("killed", "ranks"))


def _same_predictions(folder: Path, place: Path, names) -> bool:
    import numpy as np
    from ase.io import read

    from soapgap.potential import Potential

    frames = read(folder / "Si_test.xyz", ":")
    good = True
    reference = [Potential(place / "peace.safetensors", n_threads=1).compute(atoms) for atoms in frames]
    for name in names:
        results = [Potential(place / f"{name}.safetensors", n_threads=1).compute(atoms) for atoms in frames]
        worst = [max(np.abs(np.asarray(getattr(a, q)) - getattr(b, q)).max() for a, b in zip(results, reference, strict=True))
                 for q in ("energy", "forces", "virial")]
        same = (place / f"{name}.safetensors").read_bytes() == (place / "peace.safetensors").read_bytes()
        print(f"{name}: largest difference on the test set: E {worst[0]:.1e} eV, F {worst[1]:.1e} eV/A, W {worst[2]:.1e} eV"
              + ("; the file is the same to the byte" if same else ""))
        good &= max(worst) <= 1e-8
    return good


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    big = kinds.add_parser("large")
    big.set_defaults(run=large)
    big.add_argument("--memory", default="4GB")
    big.add_argument("--threads", type=int, default=2)
    big.add_argument("--n-sparse", type=int, default=5000)
    big.add_argument("--copies", type=int, default=5)
    broken = kinds.add_parser("interrupted")
    broken.set_defaults(run=interrupted)
    broken.add_argument("--kills", type=int, default=10)
    broken.add_argument("--seed", type=int, default=0)
    for kind in (big, broken):
        kind.add_argument("folder", type=Path, help="holds Si_train.xyz and Si_test.xyz")
    options = parser.parse_args()
    return 0 if options.run(options) else 1


if __name__ == "__main__":
    sys.exit(main())
