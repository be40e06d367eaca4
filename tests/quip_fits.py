"""Small models made by gap_fit, to be read by us and evaluated by quippy: every form of term that `read_quip` knows."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from programs import run_gap_fit

SPECIES = ("Si", "O", "Ti")  # order of first appearance, which is QUIP's order of channels: not ascending


def small_cell(seed, n_atoms=6, species=SPECIES, closest=1.5):
    """Random atoms in a triclinic cell that is smaller than the cutoffs."""
    rng = np.random.default_rng(seed)
    cell = np.array([[3.9, 0.0, 0.0], [1.3, 4.1, 0.0], [-0.9, 0.8, 4.4]]) * (n_atoms / 6) ** (1 / 3)
    atoms = Atoms(cell=cell + rng.uniform(-0.2, 0.2, (3, 3)), pbc=True)
    while len(atoms) < n_atoms:
        trial = atoms + Atoms(species[len(atoms) % len(species)], rng.uniform(size=(1, 3)) @ atoms.cell.array)
        images = trial.repeat(2) if len(trial) == 1 else trial
        if images.get_all_distances(mic=True)[~np.eye(len(images), dtype=bool)].min() > closest:
            atoms = trial
    return atoms


def training_frames(species=SPECIES, n=5):
    """Isolated atoms, then small cells, with the energies of a soft Lennard-Jones potential."""
    frames = [Atoms(s, cell=[25.0] * 3, pbc=True) for s in species]
    frames += [small_cell(seed, species=species) for seed in range(n)]
    for number, atoms in enumerate(frames):
        work = atoms.copy()
        work.calc = LennardJones(sigma=1.6, epsilon=0.3, rc=4.0, smooth=True)
        energy = work.get_potential_energy() if len(atoms) > 1 else -1.25 - 0.5 * number
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=work.get_forces())
    return frames


def write_training_data(path, frames):
    lines = []
    for atoms in frames:
        lattice = " ".join(f"{x:.17g}" for x in atoms.cell.array.ravel())
        lines += [str(len(atoms)), f'Lattice="{lattice}" Properties=species:S:1:pos:R:3:force:R:3 pbc="T T T" '
                                   f"energy={atoms.calc.results['energy']:.17g}"]
        for symbol, r, f in zip(atoms.symbols, atoms.positions, atoms.calc.results["forces"]):
            lines.append(symbol + "".join(f" {x:.17g}" for x in (*r, *f)))
    Path(path).write_text("\n".join(lines) + "\n")


def gap_fit(folder, gap, *options, frames=None, name="gap"):
    """Run gap_fit in `folder`; returns the path of the model."""
    write_training_data(folder / f"{name}.xyz", frames or training_frames())
    done = run_gap_fit(folder, f"at_file={name}.xyz", f"gap={{{gap}}}", "default_sigma={0.002 0.05 0.0 0.0}",
                       "energy_parameter_name=energy", "force_parameter_name=force", "do_copy_at_file=F", f"gp_file={name}.xml",
                       "rnd_seed=3", "sparse_jitter=1e-8", *options)
    path = folder / f"{name}.xml"
    assert path.exists(), done.stdout[-3000:] + done.stderr[-3000:]
    return path


def quip_results(xml, structures, init_args=""):
    """Energy, forces, virial W and local energies by quippy, structure by structure."""
    from quippy.potential import Potential

    calculator, results = Potential(init_args, param_filename=str(xml)), []
    for atoms in structures:
        atoms = atoms.copy()
        calculator.calculate(atoms, properties=["energy", "forces", "stress", "energies"],
                             system_changes=["positions", "numbers", "cell", "pbc"])
        r = calculator.results
        stress = np.asarray(r["stress"])
        if stress.shape == (6,):
            xx, yy, zz, yz, xz, xy = stress
            stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        results.append((r["energy"], np.array(r["forces"]), -stress * atoms.get_volume(), np.array(r["energies"])))
    return results
