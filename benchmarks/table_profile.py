"""Where the evaluator's time goes, phase by phase (SOAPGAP_PROFILE=1), with and without reductions."""

import os
import time

import numpy as np
from common import Table, interleaved, median
from systems import CUTOFF, describe_fit, ethanol_box, ethanol_fit, silicon_fit, structure, unreduced

from soapgap.model import Model
from soapgap.neighbours.arrays import neighbour_arrays

N_ATOMS = 512


def measure(options, screen):
    """One row per model and form."""
    silicon = {"n_atoms": N_ATOMS, "rattle": 0.1}
    cases = [(f"{n_max}, {l_max}" + (f" zeta {zeta}" if zeta != 4 else ""),
              silicon_fit(options, screen, n_max, l_max, 1000, zeta), silicon)
             for n_max, l_max, zeta in ((10, 12, 4), (8, 8, 4), (8, 8, 2), (8, 6, 4))]
    if options.ethanol:
        box = ethanol_box(options.ethanol, options.output)
        cases.append(("H, C, O 8, 6", ethanol_fit(options, screen), {"file": str(box), "rattle": 0.02}))
    rows = []
    for name, path, spec in cases:
        forms = {"reduced": path, "exact": unreduced(path)}
        runs = interleaved({form: Profiled(model, structure(spec, 0)) for form, model in forms.items()}, options.pairs,
                           lambda text, name=name: screen.progress(f"{name}: {text}"))
        rows += [{"model": name, "form": form} | {phase: median([run[phase] for run in results]) for phase in results[0]}
                 for form, results in runs.items()]
    phases = [key for key in rows[0] if key not in ("model", "form")]
    columns = [("model", "model", ""), ("form", "form", ""), *((phase, phase, ".1f") for phase in phases)]
    notes = [f"evaluator alone, cutoff {CUTOFF:g} A, 1000 sparse points; the clock itself costs some 0.2 us/atom; "
             + describe_fit(options)]
    yield Table("profile", f"phases, us/atom, one core, medians of {options.pairs} interleaved rounds", columns, rows, notes)


class Profiled:
    """An evaluator that times its phases; one call is one sample."""

    def __init__(self, path, atoms):
        os.environ["SOAPGAP_PROFILE"] = "1"  # read when the evaluator is made
        self.evaluator = Model.load(path).evaluator()
        del os.environ["SOAPGAP_PROFILE"]
        self.pairs, self.n_atoms = neighbour_arrays(atoms, self.evaluator.cutoff, self.evaluator.species), len(atoms)

    def __call__(self) -> dict:
        before, start = self.evaluator.profile(), time.perf_counter()
        self.evaluator.evaluate(self.pairs)
        whole, after = time.perf_counter() - start, self.evaluator.profile()
        phases = {phase: after[phase] - before[phase] for phase in after}
        return {phase: 1e6 * seconds / self.n_atoms for phase, seconds in (phases | {"whole": whole}).items()}


def plot(figure, tables):
    """Stacked bars."""
    rows, axes = tables[0].rows, figure.subplots()
    left, labels = np.zeros(len(rows)), [f"{row['model']}\n{row['form']}" for row in rows]
    for phase in [key for key in rows[0] if key not in ("model", "form", "whole")]:
        values = np.array([row[phase] for row in rows])
        axes.barh(labels, values, left=left, label=phase)
        left += values
    axes.invert_yaxis()
    axes.set(xlabel="us / atom", title="the evaluator's phases, one core")
    axes.legend(fontsize=8)
