"""Made tests/golden/format_2.safetensors, once. It is not made again: later versions of soapgap must read it as it is."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from models import make_two_species_model, random_structure

from soapgap.potential import Potential

HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    model = make_two_species_model(n_max=3, l_max=2, n_sparse=5)
    model.save(HERE / "format_2.safetensors")
    atoms = random_structure(21)
    result = Potential(model).compute(atoms)
    content = {"symbols": atoms.get_chemical_symbols(), "positions": atoms.positions.tolist(), "cell": atoms.cell.tolist(),
               "checksum": model.checksum, "energy": result.energy, "forces": result.forces.tolist(),
               "virial": result.virial.tolist()}
    (HERE / "format_2.json").write_text(json.dumps(content, indent=0) + "\n")
