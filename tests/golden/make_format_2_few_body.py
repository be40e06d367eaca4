"""Made tests/golden/format_2_few_body.safetensors, once. It is not made again: later versions must read it as it is."""

import json
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from few_body_models import make_few_body_model
from models import random_structure

from soapgap.model import TripletTerm
from soapgap.potential import Potential
from soapgap.reduction.triplet import tabulated

HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    model = make_few_body_model()
    # every second triplet with a spline; a coarse one, its numbers count and not its closeness to the kernels
    splines = {id(term) for term in [term for term in model.terms if isinstance(term, TripletTerm)][::2]}
    model = replace(model, terms=[tabulated(term, 0.8) if id(term) in splines else term for term in model.terms])
    model.save(HERE / "format_2_few_body.safetensors")
    atoms = random_structure(21)
    result = Potential(model).compute(atoms)
    content = {"symbols": atoms.get_chemical_symbols(), "positions": atoms.positions.tolist(), "cell": atoms.cell.tolist(),
               "checksum": model.checksum, "energy": result.energy, "energies": result.energies.tolist(),
               "forces": result.forces.tolist(), "virial": result.virial.tolist()}
    (HERE / "format_2_few_body.json").write_text(json.dumps(content, indent=0) + "\n")
