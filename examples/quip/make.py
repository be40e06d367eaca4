"""Made silicon.xml and its files of sparse points: a small fit in terms that QUIP has, exported."""

from importlib.resources import files
from pathlib import Path

import soapgap

DATA = Path(str(files("soapgap.demo"))) / "data" / "si_train.xyz"
CONFIG = {
    "output": "silicon.safetensors", "e0": "isolated", "default_sigma": [0.001, 0.05, 0.05], "data": {"train": str(DATA)},
    "terms": [
        {"kind": "distance_2b", "cutoff": 5.0, "theta": 1.0, "delta": 1.0, "n_sparse": 10},
        {"kind": "angle_3b", "cutoff": 3.5, "theta": 1.5, "delta": 0.3, "n_sparse": 30},
        {"kind": "soap", "n_max": 4, "l_max": 4, "cutoff": 5.0, "atom_sigma": 0.5, "zeta": 4, "delta": 0.3, "n_sparse": 40,
         "radial_basis": "equispaced"},
    ],
    "baseline": {"kind": "none"},
}

if __name__ == "__main__":
    soapgap.write_quip(soapgap.fit(CONFIG).model, "silicon.xml")
