"""One thread against two in ASE, beside what two independent processes reach on the same two cores."""

import os

import numpy as np
from common import Table, interleaved, median, pairwise, workers
from systems import describe_fit, silicon_fit

SIZES = (64, 512, 4096)
AT_LEAST = 0.8  # seconds: two processes must run side by side for most of a sample
COLUMNS = [("what", "what", ""), ("n_atoms", "atoms", "d"), ("one_us", "1 thread us/atom", ".2f"),
           ("two_us", "2 threads", ".2f"), ("ratio", "speed-up", ".3f"), ("ratio_low", "lowest", ".3f"),
           ("ratio_high", "highest", ".3f"), ("ceiling", "ceiling", ".3f"), ("of_ceiling", "of ceiling", ".0%")]
PROGRAMS = {"evaluator": "evaluator alone", "dynamics": "dynamics (list kept, skin 1 A)",
            "soapgap": "new neighbour list every time"}


def measure(options, screen):
    """The table."""
    if len(os.sched_getaffinity(0)) < 2:
        screen.line("threads: this process may use one core only: skipped")
        return
    path, rows = silicon_fit(options, screen, 10, 12), []
    for n_atoms in SIZES:
        for program, what in PROGRAMS.items():
            rows.append({"what": what} | one_size(program, path, n_atoms, options, screen))
    notes = ["n_max 10, l_max 12, 1000 sparse points; " + describe_fit(options),
             "ceiling: throughput of two single-threaded processes side by side over that of one; "
             "the neighbour list is made on one thread"]
    yield Table("threads", f"ASE, threads, medians of {options.pairs} interleaved rounds", COLUMNS, rows, notes)


def one_size(program, path, n_atoms, options, screen) -> dict:
    """One thread, two threads, two processes; in turns."""
    spec = {"program": program, "model": path, "structure": {"n_atoms": n_atoms}}
    with workers({"one": spec, "other": spec, "two": spec | {"threads": 2}}) as programs:
        def together():
            for name in ("one", "other"):
                programs[name].begin_sample(AT_LEAST)
            # the harmonic mean: rates add up, not times
            return 2.0 / sum(1.0 / programs[name].receive()["seconds"] for name in ("one", "other"))

        measures = {"one": lambda: programs["one"].seconds(AT_LEAST), "two": lambda: programs["two"].seconds(AT_LEAST),
                    "together": together}
        times = interleaved(measures, options.pairs, lambda text: screen.progress(f"{program}, {n_atoms} atoms: {text}"))
    n = 8 * max(2, round((n_atoms / 8) ** (1 / 3))) ** 3
    speed_up = np.array(times["one"]) / times["two"]
    ceiling = 2.0 * np.array(times["one"]) / times["together"]
    return {"n_atoms": n, "one_us": 1e6 * median(times["one"]) / n, "two_us": 1e6 * median(times["two"]) / n,
            **pairwise(times["one"], times["two"]), "ceiling": median(ceiling), "of_ceiling": median(speed_up / ceiling),
            "seconds": times}


def plot(figure, tables):
    """Speed-up against size, and the ceiling."""
    axes = figure.subplots()
    for k, what in enumerate(PROGRAMS.values()):
        rows = [row for row in tables[0].rows if row["what"] == what]
        sizes = [row["n_atoms"] for row in rows]
        axes.plot(sizes, [row["ratio"] for row in rows], f"C{k}o-", label=what)
        axes.plot(sizes, [row["ceiling"] for row in rows], f"C{k}:", label=f"{what}: two processes")
    axes.set(xscale="log", xlabel="atoms", ylabel="speed-up of two threads", ylim=(1, 2.1))
    axes.legend()
