"""Step: lattice constant and elastic constants against the reference potential."""

import json
import sys

from . import plots
from .elastic import ROWS, table
from .workflow import Check, StepResult

TITLE = "Lattice constant and elastic constants against the reference"
TEXT = (
    "Diamond silicon with the model and with the Stillinger-Weber potential that labelled the training data, by the same "
    "function: the edge at which the pressure vanishes, then central differences of the stress between small strains, the "
    "atoms relaxed in each strained cell."
)
A0_LIMIT = 0.3  # percent
CONSTANT_LIMIT = 10.0  # percent


def run(flow):
    """Run the comparison as a command and check it."""
    command = [sys.executable, "-m", "soapgap.demo.elastic", "si.safetensors", "--json", "elastic.json"]
    flow.run(command, "elastic.out", 300, "strains", shown=["python", *command[1:]])
    result = json.loads((flow.folder / "elastic.json").read_text(encoding="utf-8"))
    flow.screen.block(table(result))
    model, reference = result["model"], result["reference"]
    percent = {key: 100 * (model[key] - reference[key]) / reference[key] for key, *_ in ROWS}
    rows = [
        [name, form.format(model[key]), form.format(reference[key]), f"{percent[key]:+.2f} %", unit.replace("A", "Å")]
        for key, name, unit, form in ROWS
    ]
    constants = ("c11", "c12", "c44")
    plots.elastic_bars(
        flow.folder / "elastic.svg",
        [key.upper() for key in constants],
        [model[key] for key in constants],
        [reference[key] for key in constants],
    )
    worst = max(abs(percent[key]) for key in constants)
    return StepResult(
        summary=(
            f"The lattice constant is {model['a0']:.4f} Å (reference {reference['a0']:.4f}); the elastic constants differ by "
            f"at most {worst:.1f} %."
        ),
        tables=[("Diamond silicon", ["quantity", "soapgap", "Stillinger-Weber", "difference", "unit"], rows)],
        figures=[("elastic.svg", "bars of C11, C12, C44 for model and reference")],
        checks=[
            Check("error of the lattice constant", abs(percent["a0"]), A0_LIMIT, "%"),
            Check("largest error of C11, C12, C44", worst, CONSTANT_LIMIT, "%"),
        ],
        numbers=result,
    )
