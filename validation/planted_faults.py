"""Faults to plant in sets of training data: for the study and for the tests of `soapgap check`."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from soapgap.check.units import EV_A3_IN_GPA


def copies(frames):
    """Frames that may be changed."""
    out = []
    for frame in frames:
        new = frame.copy()
        if frame.calc is not None:
            results = {key: np.array(value) if np.ndim(value) else value for key, value in frame.calc.results.items()}
            new.calc = SinglePointCalculator(new, **results)
        out.append(new)
    return out


def write_set(path, frames):
    """Write frames with all digits; the path."""
    for frame in frames:
        if "virial" in frame.info:
            frame.info["virial"] = np.reshape(frame.info["virial"], (3, 3))
    write(path, frames, format="extxyz")
    return path


def large(frames, n=1, wanted=""):
    """Indices of frames of more than two atoms from the middle of the set, with the wanted quantity."""
    middle = [k for k, frame in enumerate(frames) if len(frame) > 2 and np.abs(frame.calc.results["forces"]).max() > 0.2
              and (not wanted or wanted in frame.info)]
    return middle[len(middle) // 2:len(middle) // 2 + n]


# ---- what is planted: each function changes the list, and returns the frames that must be found (None: not looked at)

def scale_virials(factor):
    def plant(frames):
        for frame in frames:
            if "virial" in frame.info:
                v = frame.get_volume()
                size = {"1/V": 1.0 / v, "-1/V": -1.0 / v, "GPa/V": EV_A3_IN_GPA / v}.get(factor, factor)
                frame.info["virial"] = np.asarray(frame.info["virial"]) * size
    return plant


def stress(factor):
    """The virials replaced by stresses in a convention of their own."""
    def plant(frames):
        for frame in (frame for frame in frames if "virial" in frame.info):
            virial = np.reshape(frame.info.pop("virial"), (3, 3))
            frame.calc.results["stress"] = (-factor * virial / frame.get_volume()).ravel()[[0, 4, 8, 5, 2, 1]]
    return plant


def contradicting_stress(frames):
    for frame in frames:
        if "virial" in frame.info:
            virial = np.reshape(frame.info["virial"], (3, 3))
            frame.calc.results["stress"] = (virial / frame.get_volume()).ravel()[[0, 4, 8, 5, 2, 1]]


def scale_forces(factor):
    def plant(frames):
        for frame in frames:
            frame.calc.results["forces"] = frame.calc.results["forces"] * factor
    return plant


def no_isolated(frames):
    frames[:] = [frame for frame in frames if len(frame) > 1]


def isolated_twice(frames):
    frames.append(next(copies([frame])[0] for frame in frames if len(frame) == 1))
    return [next(k for k, frame in enumerate(frames) if len(frame) == 1), len(frames) - 1]


def isolated_twice_otherwise(frames):
    both = isolated_twice(frames)
    frames[-1].calc.results["energy"] += 0.1
    return both


def isolated_other_key(frames):
    k = next(k for k, frame in enumerate(frames) if len(frame) == 1)
    frames[k].info["dft_energy"] = frames[k].calc.results.pop("energy")
    return [k]


def isolated_other_settings(frames):
    for frame in frames:
        if len(frame) == 1:
            frame.calc.results["energy"] -= 100.0
    return [k for k, frame in enumerate(frames) if len(frame) == 1]


def energy_shift(shift):
    def plant(frames):
        k, = large(frames)
        frames[k].calc.results["energy"] += shift * len(frames[k])
        return [k]
    return plant


def scale_energy(factor):
    """One energy in another unit, or without the factor N."""
    def plant(frames):
        k, = large(frames)
        frames[k].calc.results["energy"] *= 1.0 / len(frames[k]) if factor == "1/N" else factor
        return [k]
    return plant


def energies_per_atom(frames):
    for frame in frames:
        frame.calc.results["energy"] /= len(frame)


def other_element(frames):
    k, = large(frames)
    frames[k].symbols[1] = "Xe"
    return [k]


def duplicate(frames):
    frames.append(copies([frames[large(frames)[0]]])[0])
    return [len(frames) - 1]


def duplicate_by_images(frames):
    """The same frame with atoms moved to other periodic images."""
    frames.append(copies([frames[large(frames)[0]]])[0])
    frames[-1].positions[::2] += frames[-1].cell.array[1] - frames[-1].cell.array[2]
    return [len(frames) - 1]


def duplicate_otherwise(frames):
    added = duplicate(frames)
    frames[-1].calc.results["energy"] += 0.02 * len(frames[-1])
    return added


def move_atom(distance):
    """The first atom put near the second one."""
    def plant(frames):
        k, = large(frames)
        direction = np.array([0.48, 0.6, 0.64])
        frames[k].positions[0] = frames[k].positions[1] + distance * direction / np.linalg.norm(direction)
        return [k]
    return plant


def net_force(frames):
    k, = large(frames)
    frames[k].calc.results["forces"][0] += [1.0, 0.5, 0.0]
    return [k]


def zero_forces(frames):
    found = large(frames, 3)
    for k in found:
        frames[k].calc.results["forces"][:] = 0.0
    return found


def missing_energy(frames):
    found = large(frames, 2)
    for k in found:
        del frames[k].calc.results["energy"]
    return found


def whole_energy(frames):
    k, = large(frames)
    frames[k].calc.results["energy"] = round(frames[k].calc.results["energy"])
    return [k]


def no_lattice(frames):
    k, = large(frames)
    frames[k].pbc = False
    frames[k].cell = None
    frames[k].info.pop("virial", None)
    frames[k].calc.results.pop("stress", None)
    return [k]


def periodic_without_cell(frames):
    found = no_lattice(frames)
    frames[found[0]].pbc = True
    return found


def mixed_energy(frames):
    found = large(frames, 4)
    for k in found:
        frames[k].info["REF_energy"] = frames[k].calc.results.pop("energy")
    return found


def mixed_forces(frames):
    found = large(frames, 4)
    for k in found:
        frames[k].arrays["dft_forces"] = frames[k].calc.results.pop("forces")
    return found


def mixed_virial(frames):
    found = large(frames, 4, "virial")
    for k in found:
        frames[k].info["dft_virial"] = frames[k].info.pop("virial")
    return found


def nan_energy(frames):
    k, = large(frames)
    frames[k].calc.results["energy"] = np.nan
    return [k]


def nan_force(frames):
    k, = large(frames)
    frames[k].calc.results["forces"][3, 1] = np.nan
    return [k]


def nan_virial(frames):
    k, = large(frames, 1, "virial")
    frames[k].info["virial"] = np.reshape(frames[k].info["virial"], (3, 3)) * np.nan
    return [k]


class Fault(NamedTuple):
    """What is planted, and the finding that must come of it.

    `needs` is what a set must have, "virial" or "lattice"; `otherwise` are findings that may take its place where a set
    has no strained pairs, `beside` those that follow from the fault as well.
    """

    plant: Callable
    severity: str
    code: str
    words: str
    needs: str = ""
    otherwise: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


def virial_fault(plant, words):
    return Fault(plant, "error", "virials-units", words, "virial", ("virials-implausible", "virials-sign"))


PLANTED = {
    "virial sign": virial_fault(scale_virials(-1.0), "opposite sign"),
    "virial in Hartree": virial_fault(scale_virials(1.0 / 27.2114), "in Hartree instead of eV"),
    "virial over volume": virial_fault(scale_virials("1/V"), "not multiplied by the volume"),
    "minus virial over volume": virial_fault(scale_virials("-1/V"), "not multiplied by the volume, and of the opposite"),
    "virial is pressure in GPa": virial_fault(scale_virials("GPa/V"), "not multiplied by the volume, and in GPa"),
    "stress in GPa": virial_fault(stress(EV_A3_IN_GPA), "in GPa"),
    "stress in kbar, VASP's sign": virial_fault(stress(-10.0 * EV_A3_IN_GPA), "in kbar instead of eV/A^3, and"),
    "stress sign": virial_fault(stress(-1.0), "opposite sign"),
    "stress against virial": Fault(contradicting_stress, "error", "contradiction", "signs do not fit", "virial"),
    "forces are gradients": Fault(scale_forces(-1.0), "error", "forces-units", "opposite sign"),
    "forces in Hartree/Bohr": Fault(scale_forces(0.52917721 / 27.211386), "error", "forces-units", "Hartree/Bohr"),
    "forces in kcal/mol/A": Fault(scale_forces(23.06), "error", "forces-units", "kcal/mol", beside=("net-force",)),
    "isolated atoms missing": Fault(no_isolated, "note", "isolated-missing", "no isolated atom of"),
    "isolated atom twice": Fault(isolated_twice, "warning", "isolated-repeated", "2 isolated"),
    "isolated atoms contradict": Fault(isolated_twice_otherwise, "error", "isolated-contradictory", "2 isolated"),
    "isolated atom, other key": Fault(isolated_other_key, "error", "isolated-no-energy", "1 isolated atom without",
                                      beside=("energy-mixed-keys",)),
    "isolated atom, other settings": Fault(isolated_other_settings, "warning", "isolated-implausible", "bound by"),
    "energy too high": Fault(energy_shift(12.0), "warning", "energy-out-of-line", "1 frame with"),
    "energy too low": Fault(energy_shift(-5.0), "warning", "energy-out-of-line", "1 frame with"),
    "forces 3.7 times too large": Fault(scale_forces(3.7), "error", "forces-units", "too large by a factor of",
                                        beside=("net-force",)),
    "all energies per atom": Fault(energies_per_atom, "error", "forces-units", "energies are per atom",
                                   beside=("virials-units", "isolated-implausible", "energy-out-of-line")),
    "one energy per atom": Fault(scale_energy("1/N"), "warning", "energy-out-of-line", "1 frame with"),
    "energy in Hartree": Fault(scale_energy(1.0 / 27.2114), "warning", "energy-out-of-line", "1 frame with"),
    "duplicate": Fault(duplicate, "warning", "duplicate", "1 frame that occurred before"),
    "duplicate, other images": Fault(duplicate_by_images, "warning", "duplicate", "1 frame that occurred before", "lattice"),
    "duplicate, other energy": Fault(duplicate_otherwise, "error", "duplicate-contradictory", "another energy"),
    "close contact": Fault(move_atom(0.6), "warning", "close-contact", "0.600 A apart"),
    "overlap": Fault(move_atom(0.02), "error", "overlap", "0.02 A apart"),
    "net force": Fault(net_force, "warning", "net-force", "do not add up"),
    "zero forces": Fault(zero_forces, "error", "zero-forces", "all forces are zero in 3 frames"),
    "missing energy": Fault(missing_energy, "warning", "energy-missing", "2 of"),
    "whole number": Fault(whole_energy, "warning", "energy-whole-number", "1 frame"),
    "one atom of another element": Fault(other_element, "warning", "species-rare", "Xe occurs in 1 frame"),
    "no lattice": Fault(no_lattice, "warning", "no-lattice", "1 frame without lattice", "lattice"),
    "periodic without cell": Fault(periodic_without_cell, "error", "unusable", "periodic along"),
    "energies under two names": Fault(mixed_energy, "error", "energy-mixed-keys", "'REF_energy' in 4 frames"),
    "forces under two names": Fault(mixed_forces, "error", "forces-mixed-keys", "'dft_forces' in 4 frames"),
    "virials under two names": Fault(mixed_virial, "error", "virial-mixed-keys", "'dft_virial' in 4 frames", "virial"),
    "energy not a number": Fault(nan_energy, "error", "not-finite", "the energy (energy) is nan"),
    "force not a number": Fault(nan_force, "error", "not-finite", "of atom 3"),
    "virial not a number": Fault(nan_virial, "error", "not-finite", "the virial (virial)", "virial"),
}
