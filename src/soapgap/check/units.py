"""Signs and units of virials, stresses and forces: against differences of energies, else by plausibility."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from soapgap.check.findings import Finding, plural
from soapgap.check.frames import FrameTable
from soapgap.check.pairs import (
    FEWEST_PAIRS,
    Pairs,
    Verdict,
    displaced_pairs,
    judge,
    rest_against_virials,
    strained_pairs,
)

EV_A3_IN_GPA = 160.21766
HARTREE, BOHR, RYDBERG = 27.211386, 0.52917721, 13.605693
KCAL, KJ = 23.060548, 96.485332  # per mole, in one eV

_STRESS = {"in GPa instead of eV/A^3": EV_A3_IN_GPA, "in kbar instead of eV/A^3": 10.0 * EV_A3_IN_GPA,
           "in bar instead of eV/A^3": 1e4 * EV_A3_IN_GPA, "in Hartree/Bohr^3 instead of eV/A^3": BOHR**3 / HARTREE,
           "in Hartree instead of eV": 1.0 / HARTREE, "not multiplied by the volume": "1/V",
           "not multiplied by the volume, and in GPa": f"{EV_A3_IN_GPA}/V",
           "not multiplied by the volume, and in kbar": f"{10 * EV_A3_IN_GPA}/V", "multiplied by the volume": "V",
           "given per atom": "1/N", "in eV while energies are per atom": "N"}
STRESS_FAULTS: dict[str, float | str] = {"of the opposite sign": -1.0}
for _name, _factor in _STRESS.items():
    STRESS_FAULTS[_name] = _factor
    STRESS_FAULTS[f"{_name}, and of the opposite sign"] = f"-{_factor}" if isinstance(_factor, str) else -_factor

_FORCE = {"per Bohr instead of per Angstrom": BOHR, "in Hartree/Bohr while energies are in eV": BOHR / HARTREE,
          "in Hartree/A while energies are in eV": 1.0 / HARTREE, "in Rydberg/Bohr while energies are in eV": BOHR / RYDBERG,
          "in kcal/mol/A while energies are in eV": KCAL, "in kJ/mol/A while energies are in eV": KJ,
          "in kJ/mol/nm while energies are in eV": 10.0 * KJ, "in eV/A while energies are in Hartree": HARTREE,
          "in eV/A while energies are in Rydberg": RYDBERG, "in eV/A while energies are in kcal/mol": 1.0 / KCAL,
          "in eV/A while energies are in kJ/mol": 1.0 / KJ, "in eV/A while energies are per atom": "N"}
FORCE_FAULTS: dict[str, float | str] = {"of the opposite sign (gradients)": -1.0}
for _name, _factor in _FORCE.items():
    FORCE_FAULTS[_name] = _factor
    FORCE_FAULTS[f"{_name}, and of the opposite sign"] = f"-{_factor}" if isinstance(_factor, str) else -_factor

SIZE_RATIO = (0.003, 10.0)  # of a virial per atom to force times distance, median over frames
BULK_MODULUS = (0.01, 2000.0)  # GPa
SLOPE = (0.03, 3.0)  # of energies that forces leave over against the work of virials
VOLUME_SPREAD, CLEAR_TREND, CLEAR_OPPOSITE = 0.01, 0.7, 0.9
STUDENT = 5.0  # t of a correlation


def unit_findings(table: FrameTable, strange: Sequence[int] = ()) -> Iterator[Finding]:
    """All findings of this module: forces, then virials.

    Parameters
    ----------
    strange : sequence of int
        Frames with another fault (energy out of line, close contact, net force), which say nothing about units.
    """
    if np.isfinite(table.column("rms_force")).any():
        yield from _judged(table, displaced_pairs(table).without(strange), "forces", FORCE_FAULTS)
    with_virial = [f for f in table.frames if f.virial is not None]
    if with_virial:
        pairs = strained_pairs(table).without(strange)
        if judge(pairs, STRESS_FAULTS).n >= FEWEST_PAIRS:
            yield from _judged(table, pairs, "virials", STRESS_FAULTS)
        else:
            yield from _plausible(table)


def _judged(table: FrameTable, pairs: Pairs, what: str, faults: dict[str, float | str]) -> Iterator[Finding]:
    """One verdict for all pairs; if some files or config_types differ, one for each of them."""
    kind = "displaced" if what == "forces" else "strained"
    whole = judge(pairs, faults)
    if whole.n < FEWEST_PAIRS:
        yield Finding("note", f"{what}-unchecked", f"units of the {what} not checked against energies",
                      f"{plural(whole.n, 'pair')} of {kind} frames of the same structure near each other, {FEWEST_PAIRS} "
                      "are needed")
        return
    number = {f.source: n for n, f in enumerate(table.frames)}
    sources = np.array([[number[table.frames[k].source] for k in pair] for pair in pairs.frames])
    same = sources[:, 0] == sources[:, 1]
    bad: dict[tuple[str, ...], tuple[Verdict, list[np.ndarray]]] = {}
    for name in sorted(set(sources[same, 0])) or [None]:
        chosen = np.flatnonzero(same & (sources[:, 0] == name)) if name is not None else np.arange(len(pairs))
        verdict = judge(pairs.of(chosen), faults)
        if verdict.clear and not verdict.good:
            bad.setdefault(verdict.names, (verdict, []))[1].append(chosen)
    for names, (verdict, chosen) in bad.items():
        yield _wrong(pairs.of(np.concatenate(chosen)), what, kind, names, verdict)
    if bad:
        return
    if whole.clear and whole.good:
        yield Finding("note", f"{what}-agree", f"{what} agree with differences of energies (ratio {whole.ratio:.3f}, median "
                      f"of {whole.n} pairs of {kind} frames)", "sign and unit are right",
                      values=_values(whole))
    elif whole.clear:
        yield _wrong(pairs, what, kind, whole.names, whole)
    else:
        severity = "warning" if what == "virials" else "note"  # for equal positions the rule allows no scatter
        yield Finding(severity, f"{what}-unclear", f"{whole.n} pairs of {kind} frames do not settle the units of the {what} "
                      f"(E_2 - E_1 is {whole.ratio:.3g} times the work in the median, with a large scatter)",
                      "different conventions in one set, energies too noisy, or frames too far from each other",
                      values=_values(whole))


def _values(verdict: Verdict) -> dict:
    return {"median_ratio": verdict.ratio, "scatter": verdict.score, "n_pairs": verdict.n, "explanations": list(verdict.names)}


def _wrong(pairs: Pairs, what: str, kind: str, names: tuple[str, ...], verdict: Verdict) -> Finding:
    expected = ("expected F = -dE/dr in eV/A" if what == "forces" else "expected virial = -dE/dstrain in eV (a positive trace "
                "wants to expand), or ASE's stress = +(dE/dstrain)/volume in eV/A^3 (positive is tension)")
    or_else = f" (or {'; or '.join(names[1:])})" if len(names) > 1 else ""
    return Finding("error", f"{what}-units", f"{what} look as if they were {names[0]}{or_else}: E_2 - E_1 is "
                   f"{verdict.ratio:.4g} times the work in the median of {plural(len(pairs), 'pair')} of {kind} frames",
                   f"{expected}; convert them", tuple(sorted({int(k) for k in pairs.frames.ravel()})), _values(verdict))


def _plausible(table: FrameTable) -> Iterator[Finding]:
    """Where no strained pairs exist: energies that forces leave over, size against forces, pressure against volume."""
    ratio = _size_ratio(table)
    modulus, trend = _bulk_modulus(table)
    n_pairs, slope, correlation = _slope(table)
    values = {"virial_over_force_times_distance": ratio, "bulk_modulus_GPa": modulus, "trend": trend, "slope": slope}
    where = tuple(k for k, f in enumerate(table.frames) if f.virial is not None)
    size = [text for text, quantity, (low, high) in (
        (f"a virial per atom is {ratio:.3g} times force times distance in the median (expected {SIZE_RATIO[0]:g} to "
         f"{SIZE_RATIO[1]:g})", ratio, SIZE_RATIO),
        (f"pressure changes with volume like a bulk modulus of {abs(modulus):.3g} GPa (expected {BULK_MODULUS[0]:g} to "
         f"{BULK_MODULUS[1]:g})", abs(modulus), BULK_MODULUS),
        (f"E_2 - E_1 without the work of the forces is {abs(slope):.3g} times the work of the virials over {n_pairs} pairs of "
         f"frames (expected {SLOPE[0]:g} to {SLOPE[1]:g})", abs(slope), SLOPE)) if quantity < low or quantity > high]
    signs = [text for text, quantity in (
        (f"pressure rises with volume (correlation {-trend:.2f})", modulus),
        (f"E_2 - E_1 falls with the work of the virials (correlation {correlation:.2f})", slope)) if quantity < 0.0]
    judged = "judged by plausibility, since there are not enough strained pairs; "
    if size:
        yield Finding("warning", "virials-implausible", f"unit of the virials: {'; '.join(size)}", f"{judged}a stress in GPa "
                      "is 160.2 times too large, in kbar 1602 times, a virial without the volume V is V times too small",
                      where, values)
    if signs:
        yield Finding("warning", "virials-sign", f"virials look as if they were of the opposite sign: {'; '.join(signs)}",
                      f"{judged}expected virial = -dE/dstrain, or ASE's stress = +(dE/dstrain)/volume", where, values)
    if not size and not signs:
        known = [text for text, there in (("their size fits that of the forces", np.isfinite(ratio)),
                                          ("pressure falls with volume", modulus > 0.0),
                                          (f"energies follow them (slope {slope:.2f})", slope > 0.0)) if there]
        checked = modulus > 0.0 or slope > 0.0
        yield Finding("note", "virials-plausible", "virials not compared with energies: too few strained pairs"
                      + (f"; by plausibility: {', '.join(known)}" if known else ""),
                      "sign and unit are plausible" if checked else "the sign is not checked", values=values)


def _slope(table: FrameTable) -> tuple[int, float, float]:
    """`rest_against_virials`; the slope is NaN if it is not certain or its sign says nothing.

    The pressure of hot matter comes from the forces that grow as the volume shrinks, which the rule does not include. So
    the slope may truly be small, or even negative; only if energies and virials are hardly scattered is a sign trusted.
    """
    n, slope, correlation = rest_against_virials(table)
    certain = abs(correlation) * np.sqrt(max(n - 2, 0) / max(1.0 - correlation**2, 1e-12)) > STUDENT
    trusted = CLEAR_TREND if slope > 0.0 else CLEAR_OPPOSITE
    return n, slope if certain and abs(correlation) > trusted else np.nan, correlation


def _size_ratio(table: FrameTable) -> float:
    """Median of max |W| / N over rms force times shortest distance; NaN if there are few such frames."""
    ratios = [np.abs(f.virial).max() / f.n_atoms / (f.rms_force * min(d for _, _, d in f.shortest))
              for f in table.frames if f.virial is not None and f.shortest and f.rms_force > 0.05]
    return float(np.median(ratios)) if len(ratios) >= FEWEST_PAIRS else np.nan


def _bulk_modulus(table: FrameTable) -> tuple[float, float]:
    """-V dP/dV in GPa over frames of one type with the same atoms, and the correlation; NaN if volumes hardly vary.

    P = tr W / 3V. The group with the most frames decides. Cells that are stretched so far that they are about to break,
    where the pressure truly rises with volume, say nothing: there it is negative, and energies clearly rise.
    """
    groups: dict[tuple, list] = {}
    for frame in table.frames:
        if frame.virial is not None and frame.periodic and frame.n_atoms > 1:
            groups.setdefault((frame.config_type, frame.kind), []).append(frame)
    best, found = 2 * FEWEST_PAIRS - 1, (np.nan, np.nan)
    for frames in groups.values():
        volume = np.array([f.volume / f.n_atoms for f in frames])
        pressure = np.array([np.trace(f.virial) / (3.0 * f.volume) for f in frames])
        x = np.log(volume)
        if len(frames) <= best or x.std() < VOLUME_SPREAD or pressure.std() == 0.0:
            continue
        correlation = float(np.corrcoef(x, pressure)[0, 1])
        stretched = np.mean(pressure < 0.0) > 0.8 and _rises(x, frames)
        if abs(correlation) > CLEAR_TREND and not (correlation > 0.0 and stretched):
            slope = float(np.polyfit(x, pressure, 1)[0])
            best, found = len(frames), (-slope * EV_A3_IN_GPA, -correlation)
    return found


def _rises(x: np.ndarray, frames: list) -> bool:
    """True if energies per atom clearly rise with x."""
    energies = np.array([f.energy / f.n_atoms for f in frames])
    known = np.isfinite(energies)
    if known.sum() < 3 or x[known].std() * energies[known].std() == 0.0:
        return False
    return bool(np.corrcoef(x[known], energies[known])[0, 1] > CLEAR_TREND)
