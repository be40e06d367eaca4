"""Step: train a potential on the shipped data."""

from soapgap.config.data import DataConfig
from soapgap.data.dataset import read_dataset
from soapgap.demo import plots
from soapgap.demo.workflow import Check, StepResult
from soapgap.learn.errors import compare, errors
from soapgap.model import Model

TITLE = "Training: a pair term and a SOAP term from 71 silicon structures"
TEXT = (
    "The shipped data (si_train.xyz, si_test.xyz) are crystals under strain, hot crystals, liquids, vacancies and surfaces of "
    "silicon, labelled by the Stillinger-Weber potential. The fit reads fit.toml. The figures below show energies, force "
    "components and virials predicted by the finished model against the labels."
)
ENERGY_LIMIT, FORCE_LIMIT = 5.0, 0.15  # RMSE on the test set, meV/atom and eV/A
SETS = {"train": "si_train.xyz", "test": "si_test.xyz"}
QUANTITIES = {  # their names in the report, unit of the plot, heading and format of the table
    "energy": ("energy", "eV/atom", "E, meV/atom", ".2f"),
    "force": ("forces", "eV/Å", "F, eV/Å", ".3f"),
    "virial": ("virial", "eV/atom", "W, meV/atom", ".2f"),
}


def run(flow):
    """Run the fit, then predict both sets with the model."""
    for name in (*SETS.values(), "fit.toml"):
        flow.copy(name)
    flow.run(["soapgap", "fit", "fit.toml"], "fit.out", 900, "fit")
    model = Model.load(flow.folder / "si.safetensors")
    flow.screen.block((flow.folder / "fit.out").read_text(encoding="utf-8", errors="replace"))
    comparisons = {name: predicted(model, flow.folder / file, flow.threads) for name, file in SETS.items()}
    plots.parity(flow.folder / "parity.svg", [
        (title, unit, {name: (c[key].reference, c[key].predicted) for name, c in comparisons.items()})
        for (key, (_, unit, _, _)), title in zip(QUANTITIES.items(), ("energy", "force components", "virial components"))])
    numbers = {name: {kind: {QUANTITIES[key][0]: entry[key]["rmse"] for key in QUANTITIES} for kind, entry in table.items()}
               for name, table in ((name, errors(c)) for name, c in comparisons.items())}
    rows = [[kind, *(format(numbers[name][kind][key], form) for name in SETS for key, _, _, form in QUANTITIES.values())]
            for kind in numbers["train"]]
    header = ["", *(f"{name}\n{heading}" for name in SETS for _, _, heading, _ in QUANTITIES.values())]
    test = numbers["test"]["all"]
    return StepResult(
        summary=(
            f"On structures that the fit has not seen, the energy error is {test['energy']:.2f} meV/atom and the force "
            f"error {test['forces']:.3f} eV/Å (root mean square)."
        ),
        tables=[("Root mean square errors", header, rows)],
        figures=[("parity.svg", "model against reference: energies, forces, virials")],
        checks=[
            Check("energy RMSE on the test set", test["energy"], ENERGY_LIMIT, "meV/atom"),
            Check("force RMSE on the test set", test["forces"], FORCE_LIMIT, "eV/A"),
        ],
        numbers=numbers,
    )


def predicted(model, path, n_threads):
    """Reference and prediction by quantity, of all structures of a file that have more than one atom."""
    config = DataConfig(train=[str(path)])
    structures = [s for s in read_dataset(config.train, config).structures if len(s.atoms) > 1]
    return compare(model, structures, n_threads)
