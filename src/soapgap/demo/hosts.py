"""Step: the same numbers from every host."""

import json
import sys

from .agreement import table
from .workflow import Check, StepResult

TITLE = "The same energy, forces and virial in every host"
TEXT = (
    "One triclinic, strained and rattled crystal of 54 atoms is computed with the ASE calculator, with LAMMPS on one and on "
    "two MPI ranks, and with the i-PI driver, served by ASE's own implementation of i-PI's protocol. The table shows the "
    "largest differences from the ASE calculator; 'relative' divides by the largest value of the same quantity."
)
RELATIVE_LIMIT = 1e-9


def run(flow):
    """Run the comparison as a command and check it."""
    command = [sys.executable, "-m", "soapgap.demo.agreement", "si.safetensors", "--json", "agreement.json"]
    flow.run(command, "agreement.out", 300, "three hosts", shown=["python", *command[1:]])
    result = json.loads((flow.folder / "agreement.json").read_text(encoding="utf-8"))
    flow.screen.block(table(result))
    names = ("energy", "forces", "virial")
    rows = [
        [host, *(f"{values[name]['absolute']:.1e}" for name in names), f"{max(values[name]['relative'] for name in names):.1e}"]
        for host, values in result.items()
    ]
    worst = max(values[name]["relative"] for values in result.values() for name in names)
    return StepResult(
        summary=f"All hosts agree to {worst:.0e} of the largest value of the same quantity.",
        tables=[("Largest differences from the ASE calculator", ["host", "E, eV", "F, eV/Å", "W, eV", "relative"], rows)],
        checks=[Check("largest relative difference between hosts", worst, RELATIVE_LIMIT)],
        numbers=result,
    )
