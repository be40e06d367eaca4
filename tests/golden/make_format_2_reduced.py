"""Made tests/golden/format_2_reduced.safetensors, once. It is not made again: later versions must read it as it is."""

import json
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from models import make_two_species_model, random_structure

from soapgap.potential import Potential
from soapgap.reduction.soap import reduce_term

HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    model = make_two_species_model(n_max=2, l_max=2, n_sparse=24)
    points = replace(model.terms[1], zeta=4.0)
    model = replace(model, terms=[reduce_term(model.terms[0], 1e-7), reduce_term(points, 1e-7), *model.terms[2:]])
    print([(t.reduced.form, t.reduced.n_radial, len(t.reduced.features), t.n_features) for t in model.terms[:2]])
    model.save(HERE / "format_2_reduced.safetensors")
    atoms = random_structure(21)
    result = Potential(model).compute(atoms)
    content = {"symbols": atoms.get_chemical_symbols(), "positions": atoms.positions.tolist(), "cell": atoms.cell.tolist(),
               "checksum": model.checksum, "energy": result.energy, "forces": result.forces.tolist(),
               "virial": result.virial.tolist()}
    (HERE / "format_2_reduced.json").write_text(json.dumps(content, indent=0) + "\n")
