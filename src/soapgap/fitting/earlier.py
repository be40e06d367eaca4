"""Adding data to the model of an earlier fit: its triangle is taken up, its rows are not made again."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from soapgap.config import FitConfig
from soapgap.errors import InputError
from soapgap.learn.problem import Fixed
from soapgap.learn.state import FitState, load_state
from soapgap.model.companions import OutputFiles

_SAME = ("terms", "baseline", "exact")


@dataclass(frozen=True)
class Earlier:
    """A finished fit that data are added to."""

    state: FitState

    @staticmethod
    def files(model: Path) -> tuple[Path, Path]:
        """The model file, and its state beside it."""
        return model, OutputFiles(model).state

    @property
    def identity(self) -> str:
        """Fingerprint of the earlier fit."""
        return self.state.identity

    @property
    def fixed(self) -> Fixed:
        """What added data do not change."""
        facts = self.state.facts
        return Fixed(facts["species"], {(a, b): r for a, b, r in facts["shortest"]}, facts["e0"],
                     facts["thetas"], sum(map(len, self.state.sparse)))

    @property
    def training_data(self) -> list[dict[str, Any]]:
        """Files, fingerprint and counts of the data in it, the oldest first."""
        return self.state.facts["training_data"]

    def check_baseline(self, fingerprint: dict[str, str]) -> None:
        """The files of the baseline must be those of the earlier fit.

        Raises
        ------
        InputError
            One of them has changed.
        """
        for name, before in self.state.facts["baseline_files"].items():
            if fingerprint.get(name) != before:
                raise InputError(f"baseline: {name} is not the file that the earlier fit subtracted; restore it, or fit all "
                                 "data together")

    def beginning(self, identity: str) -> FitState:
        """The state of the new fit before its first row."""
        return replace(self.state, identity=identity, n_done=0, complete=False)


def earlier_fit(model: Path, config: FitConfig) -> Earlier:
    """The fit of a model that data can be added to.

    Raises
    ------
    InputError
        MODEL.fit is missing, unreadable or that of an interrupted fit, or its terms or baseline differ from those of the
        configuration.
    """
    path = OutputFiles(model).state
    state = load_state(path)
    if state is None:
        raise InputError(f"{path}: no readable state of a fit; expected the file that `soapgap fit` of this version left "
                         f"beside {model.name}: fit all data together instead")
    if not state.complete:
        raise InputError(f"{path}: holds an interrupted fit; let it end first, with the command that began it")
    old, new = state.facts["config"], config.as_json()
    for key in _SAME:
        if old[key] != new[key]:
            raise InputError(f"{key} of this configuration is not that of {model.name}, and must be to add data: "
                             + _difference(old[key], new[key]))
    if config.sparse_jitter not in ("auto", state.jitter):
        raise InputError(f"sparse_jitter = {config.sparse_jitter:g}, but {model.name} was fitted with {state.jitter:g}, "
                         "which added data cannot change; leave it out, or give \"auto\"")
    return Earlier(state)


def _difference(old: Any, new: Any) -> str:
    """The lines in which two settings differ, as one line."""
    texts = [json.dumps(value, indent=1, sort_keys=True).splitlines() for value in (old, new)]
    lines = [line for line in difflib.unified_diff(*texts, "model", "configuration", n=0, lineterm="") if line[:1] in "+-"]
    return "; ".join(line[0] + " " + line[1:].strip(' ,"') for line in lines if not line.startswith(("+++", "---")))
