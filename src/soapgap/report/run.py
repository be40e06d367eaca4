"""The report of a model that has been fitted already: read the data, compare, check, write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from soapgap.config.data import DataConfig
from soapgap.data.dataset import Dataset, read_dataset
from soapgap.data.observables import OBSERVABLES
from soapgap.errors import InputError
from soapgap.learn import summary
from soapgap.learn.baseline.baseline_potentials import outside_values, with_outside
from soapgap.learn.errors import Comparison, compare, errors
from soapgap.model import Model
from soapgap.model.companions import OutputFiles
from soapgap.model.external.permission import named_by_the_user
from soapgap.potential import default_threads
from soapgap.report.file import ReportInput, WrittenReport, write_report
from soapgap.report.tuning import read_tuning
from soapgap.say import Reporter

KEYS = (*(setting for o in OBSERVABLES.values() for setting in o.settings), "config_type_key", "energy_and_local_energy")
HESSIAN_DELTA = 0.01


def make_report(path: Path, data: Sequence[Path], test: Sequence[Path] = (), output: Path | None = None, *,
                threads: int | None = None, allow_external: bool = False, say: Reporter | None = None,
                **keys: str) -> WrittenReport:
    """Write the report of a model file; the trials of `soapgap tune` are taken from MODEL.tune.jsonl if it is there.

    Parameters
    ----------
    path : Path
        The model.
    data, test : sequence of Path
        Extended XYZ files, the data of the fit and data that it has not seen.
    output : Path, optional
        HTML file to write, the JSON beside it with the suffix .json; by default MODEL.report.html.
    threads : int, optional
        By default OMP_NUM_THREADS or all cores.
    allow_external : bool
        Whether an external potential of the model may run code of its own.
    say : Reporter, optional
        Where messages go.
    **keys : str
        Names of the quantities (`[data]` of a configuration); by default those that the model was fitted with.

    Raises
    ------
    InputError
        A model, a file or a quantity that cannot be read, or an output that is one of the inputs.
    """
    say = say or Reporter()
    path = Path(path)
    html, numbers = _outputs(path, output, [path, *data, *test])
    model = Model.load(path)
    if allow_external:
        model.external = named_by_the_user(model.external, path.resolve().parent)
    threads = default_threads() if threads is None else threads
    if threads < 1:
        raise InputError(f"threads = {threads}, expected at least 1")
    config = model.provenance.get("config")
    delta = (config or {}).get("hessian_delta", HESSIAN_DELTA)
    names = DataConfig(train=[str(file) for file in data], test=[str(file) for file in test] or None,
                       **_keys_of_fit(config or {}) | keys)
    sets: dict[str, Dataset] = {}
    comparisons: dict[str, dict[str, Comparison]] = {}
    with threadpool_limits(1, "blas"):
        for label, files in (("train", names.train), ("test", names.test)):
            if files:
                sets[label] = _read(model, names, files)
                comparisons[label] = _compare(model, sets[label], label, threads, delta, say)
        tuning = read_tuning(path.with_name(path.name + ".tune.jsonl"), sets["train"].sha256)
        source = ReportInput(model, path.name, sets["train"], comparisons, sets.get("test"), config, threads=threads, **tuning)
        written = write_report(html, numbers, source)
    say.show(summary.error_table({label: errors(parts) for label, parts in comparisons.items()}))
    for text in written.warnings:
        say.warning(text)
    for line in written.lines:
        say.line(line)
    say.line(f"report: {', '.join(str(file) for file in (html, numbers) if file.exists())}")
    return written


def _keys_of_fit(config: Mapping[str, Any]) -> dict[str, Any]:
    """Names of the quantities in the configuration of the fit, as far as they are not the default: those must exist."""
    given = {key: value for key, value in config.get("data", {}).items() if key in KEYS}
    return {key: value for key, value in given.items() if value != DataConfig.model_fields[key].default}


def _outputs(path: Path, output: Path | None, inputs: Sequence[Path]) -> tuple[Path, Path]:
    """The two files to write, neither of which is an input."""
    files = OutputFiles(path)
    html = files.report if output is None else Path(output)
    numbers = files.report_data if output is None else html.with_suffix(".json")
    if html == numbers:
        raise InputError(f"--output {html}: expected the name of an HTML file; the JSON is written beside it")
    for file in (html, numbers):
        if any(file.resolve() == Path(one).resolve() for one in inputs):
            raise InputError(f"{file} is an input of this report; choose another name for --output")
    OutputFiles(html).check_writable()
    return html, numbers


def _read(model: Model, names: DataConfig, files: Sequence) -> Dataset:
    """One set of data, of elements that the model knows."""
    data = read_dataset(files, names)
    strange = [symbol for symbol in data.species if symbol not in model.species]
    if strange:
        raise InputError(f"{', '.join(data.files)}: contains {', '.join(strange)}; the model knows {', '.join(model.species)}: "
                         "leave such frames out")
    return data


def _compare(model: Model, data: Dataset, label: str, threads: int, delta: float, say: Reporter) -> dict[str, Comparison]:
    """Reference and prediction, external potentials included."""
    outside = outside_values(model.external, model.species, data.structures, delta, say, label)
    with say.task(f"errors ({label})", len(data.structures)) as task:
        found = compare(model, data.structures, threads, task.advance, delta)
    return with_outside(found, data.structures, outside)
