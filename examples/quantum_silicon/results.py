"""What the runs say: kinetic and total energy with error bars, heat capacity, and the same from phonons."""

import numpy as np
from ase.units import _hbar, _k, kB

from soapgap.physics.phonons import angular_frequencies_squared, ring_polymer_kinetic_energy
from soapgap.physics.series import correlation_time

DISPLACEMENT = 0.005  # Angstrom
SETTLE = 0.1, 30  # of the samples, or this number of them if that is more, are not looked at
MEV = 1000.0


class Phonons:
    """The vibrations of a supercell, per atom.

    All energies here and in the figures are those of the 3N - 3 vibrations over N - 1: the centre of mass of the cell does
    not move, and so the classical values are 3/2 kT and 3k exactly, whatever the size of the cell.
    """

    def __init__(self, potential, crystal):
        self.omega2 = angular_frequencies_squared(potential, crystal, DISPLACEMENT)[3:]  # 1/s^2, without translations
        self.n = len(crystal) - 1

    def kinetic(self, temperature, n_beads=None):
        """Kinetic energy (meV/atom) with ``n_beads`` beads, or with all of them: hbar w / 4 coth(hbar w / 2 kT)."""
        if n_beads is not None:
            return MEV * ring_polymer_kinetic_energy(self.omega2, temperature, n_beads) / self.n
        x = _hbar * np.sqrt(self.omega2) / (2 * _k * temperature)
        return MEV * 0.5 * kB * temperature * float((x / np.tanh(x)).sum()) / self.n

    def energy(self, temperature, n_beads=None):
        """Total energy (meV/atom): twice the kinetic one, as in every harmonic system."""
        return 2 * self.kinetic(temperature, n_beads)

    def capacity(self, temperature):
        """Heat capacity, k per atom: sum of (x / sinh x)^2, x = hbar w / 2 kT."""
        x = _hbar * np.sqrt(self.omega2) / (2 * _k * temperature)
        return float(((x / np.sinh(x)) ** 2).sum()) / self.n

    def n_beads(self, temperature, tolerance):
        """The smallest power of two whose kinetic energy is too small by no more than ``tolerance``; at least 2."""
        n_beads = 2
        while self.kinetic(temperature, n_beads) < (1 - tolerance) * self.kinetic(temperature):
            n_beads *= 2
        return n_beads


def mean_and_error(series):
    """Mean and its standard error, std sqrt(2 tau / n), tau the integrated autocorrelation time in samples."""
    return float(series.mean()), float(series.std() * np.sqrt(2 * correlation_time(series) / len(series)))


def analyse(table, run, crystal, ground, phonons):
    """Means of one run, meV/atom.

    i-PI's `kinetic_cv` is K = 3/2 N kT - (1/2P) sum_p (q_p - q_c).f_p, and `virial_fq` is
    W = (1/2P) sum_p (q_p - q_0).f_p, q_c being the centroid and q_0 the lattice sites. For the classical runs `kinetic_cv`
    is a constant, so the kinetic energy is that of the momenta. The total energy is the mean of

        V - V0 + K - 3/2 kT + C,    C = W + K - 3/2 N kT + 3/2 (N - 1) kT.

    C has the mean zero, because the centroid's virial q_c.f/2 is on average -3/2 (N - 1) kT in every potential; and in a
    harmonic crystal it cancels the fluctuation of the centroid's potential energy, which would be most of the error bar.
    """
    table = table[max(round(SETTLE[0] * len(table)), SETTLE[1]):]
    potential, kinetic_cv, kinetic_md, virial = table.T
    n, thermal = len(crystal), 1.5 * kB * run.temperature
    zero_mean = virial + kinetic_cv - thermal
    total = potential - ground + kinetic_cv - thermal + zero_mean
    unit = MEV / (n - 1)
    kinetic, kinetic_error = mean_and_error((kinetic_md if run.kind == "classical" else kinetic_cv - thermal) * unit)
    energy, energy_error = mean_and_error(total * unit)
    plain, plain_error = mean_and_error((potential - ground + kinetic_cv - thermal) * unit)
    return {
        "kind": run.kind, "temperature": run.temperature, "beads": run.beads,
        "kinetic": kinetic, "kinetic_error": kinetic_error, "kinetic_classical": MEV * thermal,
        "kinetic_phonons": phonons.kinetic(run.temperature, run.beads),
        "kinetic_phonons_infinite": phonons.kinetic(run.temperature),
        "energy": energy, "energy_error": energy_error, "energy_plain": plain, "energy_plain_error": plain_error,
        "energy_phonons": phonons.energy(run.temperature, run.beads),
    }  # fmt: skip


def heat_capacities(points, phonons):
    """Mean heat capacities between neighbouring temperatures, k per atom.

    The beads that a quantum run lacks are made up for by what the phonons lack with as many beads.
    """
    rows = []
    for kind in ("classical", "quantum"):
        of_kind = [point for point in points if point["kind"] == kind]
        for low, high in zip(of_kind[:-1], of_kind[1:], strict=True):
            ends = []
            for point in (low, high):
                missing = phonons.energy(point["temperature"]) - point["energy_phonons"] if kind == "quantum" else 0.0
                ends.append(point["energy"] + missing)
            t1, t2 = low["temperature"], high["temperature"]
            unit = 1 / (MEV * kB * (t2 - t1))
            rows.append({
                "kind": kind, "low": t1, "high": t2, "capacity": (ends[1] - ends[0]) * unit,
                "error": float(np.hypot(low["energy_error"], high["energy_error"])) * unit,
                "phonons": 3.0 if kind == "classical" else (phonons.energy(t2) - phonons.energy(t1)) * unit,
            })  # fmt: skip
    return rows
