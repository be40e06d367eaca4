"""What more outputs cost, and what it costs to open a model and to share it between threads."""

import resource
import time
from dataclasses import replace

import numpy as np
from common import Table, interleaved, median
from soapgap._evaluator import Evaluator
from systems import CUTOFF, structure, synthetic_model

from soapgap import Potential
from soapgap.neighbours.arrays import neighbour_arrays

N_ATOMS, N_OUT, N_CLONES = 512, 10, 4
SIZES = {"n_max": 10, "l_max": 12, "n_sparse": 1000}


def measure(options, screen):
    """Two tables: time of an evaluation with one and with ten outputs; time to open a model of 50 MB."""
    yield _outputs(options, screen)
    yield _opening(options, screen)


def _outputs(options, screen):
    one = replace(synthetic_model(**SIZES), external=[])
    one = replace(one, terms=[replace(term, reduced=None) for term in one.terms])
    rng = np.random.default_rng(2)
    ten = replace(one, terms=[replace(term, weights=term.weights * rng.normal(size=(N_OUT, 1))) for term in one.terms])
    atoms = structure({"n_atoms": N_ATOMS, "rattle": 0.1}, 0)
    pairs = neighbour_arrays(atoms, CUTOFF, one.species)
    evaluators = {"1": one.evaluator(), str(N_OUT): ten.evaluator()}
    runs = interleaved({f"{n}, {what}": _evaluation(evaluator, pairs, output)
                        for n, evaluator in evaluators.items()
                        for what, output in (("values", None), ("values and one derivative", 0))},
                       max(options.pairs, 5), screen.progress)
    rows = [{"outputs": name, "us": 1e6 * median(seconds) / len(atoms)} for name, seconds in runs.items()]
    ratios = [median([many / few for few, many in zip(runs[f"1, {what}"], runs[f"{N_OUT}, {what}"], strict=True)])
              for what in ("values", "values and one derivative")]
    notes = [f"one soap term, n_max 10, l_max 12, 1000 sparse points, not reduced; {len(atoms)} atoms, one core",
             f"{N_OUT} outputs over one, median of rounds: values {ratios[0]:.3f}, with one derivative {ratios[1]:.3f}"]
    return Table("outputs", f"several outputs, us/atom, medians of {max(options.pairs, 5)} interleaved rounds",
                 [("outputs", "outputs", ""), ("us", "us/atom", ".1f")], rows, notes)


def _evaluation(evaluator, pairs, output):
    def run():
        start = time.perf_counter()
        evaluator.outputs(pairs, output=output)
        return time.perf_counter() - start

    return run


def _opening(options, screen):
    path = options.output / "opening.safetensors"
    large = synthetic_model(**SIZES | {"n_sparse": 9000})
    replace(large, terms=[replace(term, reduced=None) for term in large.terms]).save(path)
    content = path.read_bytes()
    runs = interleaved({"one parse": _timed(lambda: Evaluator(content)), "Potential(path)": _timed(lambda: Potential(path, 1))},
                       max(options.pairs, 5), screen.progress)
    first = Evaluator(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    clones = [first.clone() for _ in range(N_CLONES)]
    seconds = time.perf_counter() - start
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    rows = [{"what": name, "ms": 1e3 * median(times)} for name, times in runs.items()]
    rows.append({"what": f"{len(clones)} clones", "ms": 1e3 * seconds})
    ratio = median([p / q for p, q in zip(runs["Potential(path)"], runs["one parse"], strict=True)])
    notes = [f"a model of {len(content) / 1e6:.0f} MB; Potential(path) over one parse {ratio:.3f}; the clones take {grown} kB"]
    return Table("opening", "opening a model, ms", [("what", "what", ""), ("ms", "ms", ".3f")], rows, notes)


def _timed(work):
    def run():
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return run


def plot(figure, tables):
    """Bars of both tables."""
    for axes, table, names in zip(figure.subplots(1, 2), tables, (("outputs", "us"), ("what", "ms")), strict=True):
        axes.barh([row[names[0]] for row in table.rows], [row[names[1]] for row in table.rows])
        axes.set_xlabel(f"{names[1]}")
        axes.set_title(table.title)
