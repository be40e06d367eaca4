"""Step: train a potential on the shipped data."""

import numpy as np
from ase.io import read

from ..potential import Potential
from . import plots
from .workflow import Check, StepResult

TITLE = "Training: a pair term and a SOAP term from 71 silicon structures"
TEXT = (
    "The shipped data (si_train.xyz, si_test.xyz) are crystals under strain, hot crystals, liquids, vacancies and surfaces of "
    "silicon, labelled by the Stillinger-Weber potential. The fit reads fit.toml. The figures below show energies, force "
    "components and virials predicted by the finished model against the labels."
)
ENERGY_LIMIT, FORCE_LIMIT = 5.0, 0.15  # RMSE on the test set, meV/atom and eV/A
SETS = {"train": "si_train.xyz", "test": "si_test.xyz"}


def run(flow):
    """Run the fit, then predict both sets with the model."""
    for name in (*SETS.values(), "fit.toml"):
        flow.copy(name)
    flow.run(["soapgap", "fit", "fit.toml"], "fit.out", 900, "fit")
    potential = Potential(flow.folder / "si.safetensors", n_threads=flow.threads)
    flow.screen.block((flow.folder / "fit.out").read_text(encoding="utf-8", errors="replace"))
    predictions = {name: predict(potential, flow.folder / file) for name, file in SETS.items()}
    plots.parity(
        flow.folder / "parity.svg",
        [
            ("energy", "eV/atom", {name: p.energy for name, p in predictions.items()}),
            ("force components", "eV/Å", {name: p.forces for name, p in predictions.items()}),
            ("virial components", "eV/atom", {name: p.virial for name, p in predictions.items()}),
        ],
    )
    rows, numbers = error_table(predictions)
    header = ["", *(f"{name}\n{quantity}" for name in SETS for quantity in ("E, meV/atom", "F, eV/Å", "W, meV/atom"))]
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


class Predictions:
    """Labels and predictions of one set: pairs (reference, model), per atom for energies and virials.

    ``energy`` and ``virial`` have a row per structure, ``forces`` all components in one array.
    """

    def __init__(self, frames, results):
        self.kinds = np.array([atoms.info["config_type"] for atoms in frames])
        self.n_atoms = np.array([len(atoms) for atoms in frames])
        self._forces = [(atoms.get_forces(), result.forces) for atoms, result in zip(frames, results, strict=True)]
        self.energy = (
            np.array([atoms.get_potential_energy() for atoms in frames]) / self.n_atoms,
            np.array([result.energy for result in results]) / self.n_atoms,
        )
        scale = self.n_atoms[:, None, None]
        self.virial = (
            np.array([atoms.info["virial"] for atoms in frames]) / scale,
            np.array([result.virial for result in results]) / scale,
        )
        self.forces = tuple(np.concatenate([pair[i].ravel() for pair in self._forces]) for i in range(2))

    def errors(self, chosen):
        """RMSE of the chosen structures: energy (meV/atom), forces (eV/A), virial (meV/atom)."""

        def rms(values):
            return float(np.sqrt(np.mean(np.square(values))))

        index = np.nonzero(chosen)[0]
        return {
            "energy": 1000 * rms((self.energy[1] - self.energy[0])[index]),
            "forces": rms(np.concatenate([(self._forces[i][1] - self._forces[i][0]).ravel() for i in index])),
            "virial": 1000 * rms((self.virial[1] - self.virial[0])[index]),
        }


def predict(potential, path):
    """Predictions for every structure of a file that has more than one atom."""
    frames = [atoms for atoms in read(path, ":") if len(atoms) > 1]
    return Predictions(frames, [potential.compute(atoms) for atoms in frames])


def error_table(predictions):
    """Rows for the report (train and test side by side, by config_type) and the same as numbers."""
    numbers = {}
    for name, set_ in predictions.items():
        kinds = ("all", *dict.fromkeys(set_.kinds))
        numbers[name] = {
            str(kind): set_.errors(np.ones(len(set_.kinds), bool) if kind == "all" else set_.kinds == kind) for kind in kinds
        }
    rows = []
    for kind in numbers["train"]:
        shown = []
        for name in predictions:
            e = numbers[name][kind]
            shown += [f"{e['energy']:.2f}", f"{e['forces']:.3f}", f"{e['virial']:.2f}"]
        rows.append([kind, *shown])
    return rows, numbers
