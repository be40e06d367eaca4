"""Made tests/golden/format_2_channels.safetensors, once. It is not made again: later versions must read it as it is."""

import json
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from few_body_models import make_channels_model
from models import random_structure

from soapgap.potential import Potential
from soapgap.reduction.soap import reduce_term

HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    model = make_channels_model()
    # the term with listed products has a reduced form beside it
    model = replace(model, terms=[reduce_term(term, 1e-10) if n == 1 else term for n, term in enumerate(model.terms)])
    model.save(HERE / "format_2_channels.safetensors")
    atoms = random_structure(21)
    result = Potential(model).compute(atoms)
    content = {"symbols": atoms.get_chemical_symbols(), "positions": atoms.positions.tolist(), "cell": atoms.cell.tolist(),
               "checksum": model.checksum, "energy": result.energy, "energies": result.energies.tolist(),
               "forces": result.forces.tolist(), "virial": result.virial.tolist()}
    (HERE / "format_2_channels.json").write_text(json.dumps(content, indent=0) + "\n")
