"""What the tests of several MPI ranks run, on every rank: `mpiexec -n N python parallel_tools.py FUNCTION ARGUMENTS FOLDER`.

`on_ranks` is the other end: it starts that, within a hard limit, and gives what the function has returned on each rank.
"""

import functools
import json
import pickle
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet
from few_body_models import E0, make_few_body_model, make_ordered_model
from models import CUTOFF, SPECIES, make_two_species_model, random_structure, soap_term
from programs import program, run_program

from soapgap.errors import InputError
from soapgap.model import Channels, Model
from soapgap.model.external import AsePotential
from soapgap.neighbours.arrays import find_pairs
from soapgap.parallel import ParallelPotential
from soapgap.parallel.domains import Geometry, bisect, own_pairs


def launch(n_ranks, command, folder, **variables):
    """Run Python on so many ranks."""
    return run_program([program("mpiexec"), "-n", n_ranks, sys.executable, *command], folder, **variables)


def on_ranks(n_ranks, function, folder, **arguments):
    """What a function of this file returns on each rank."""
    done = launch(n_ranks, [__file__, function, json.dumps(arguments), folder], folder)
    assert done.status == 0, done.stdout + done.stderr
    return [pickle.loads((Path(folder) / f"rank{rank}").read_bytes()) for rank in range(n_ranks)]


# ---- models and structures ----------------------------------------------------------------------------------------

@functools.cache
def cheap_model():
    """SOAP and pairs of two species at a few microseconds per atom."""
    return make_two_species_model(n_max=2, l_max=2, n_sparse=4)


@functools.cache
def averaged_model():
    """One descriptor of the whole structure: cannot be divided."""
    rng, n_max, l_max = np.random.default_rng(20251123), 2, 2
    n = 2 * n_max
    points = rng.uniform(0.1, 1.0, (4, (l_max + 1) * n * (n + 1) // 2))
    weights = rng.normal(size=(1, 4))
    channels = Channels([0, 1], 2, [(2 * l + 1) ** -0.5 for l in range(l_max + 1)], average=0)
    terms = [replace(soap_term(s, SPECIES, n_max, l_max, points, weights), channels=channels) for s in SPECIES]
    return Model(SPECIES, E0, terms)


@functools.cache
def external_model():
    """The cheap model and a calculator of ASE."""
    lj = AsePotential("ase.calculators.lj:LennardJones", {"epsilon": 0.01, "sigma": 1.6, "rc": CUTOFF})
    return replace(cheap_model(), external=[lj])


MODELS = {"soap": make_two_species_model, "cheap": cheap_model, "averaged": averaged_model, "external": external_model,
          "few bodies": make_few_body_model, "ordered": make_ordered_model}


def crystal(side, seed=0):
    """8 side^3 atoms of two species on a rattled diamond lattice."""
    atoms = bulk("Si", cubic=True) * (side, side, side)
    rng = np.random.default_rng(seed)
    atoms.symbols = rng.choice(SPECIES, len(atoms))
    atoms.positions += rng.normal(0.0, 0.1, atoms.positions.shape)
    return atoms


def slab():
    """Periodic in the plane, with vacuum on both sides, half of it beyond the face of the cell."""
    atoms = crystal(3, seed=1) * (1, 1, 2)
    atoms.center(vacuum=12.0, axis=2)
    atoms.positions[:, 2] -= 18.0
    atoms.pbc = (True, True, False)
    return atoms


def sheared():
    """A cell without right angles, longer than twice the cutoff along two axes only."""
    atoms = random_structure(8, n_atoms=110, length=12.5)
    atoms.set_cell(np.array([[14.0, 0.0, 0.0], [5.0, 6.5, 0.0], [-6.0, 4.0, 25.0]]), scale_atoms=True)
    return atoms


def tiny():
    """Smaller than the cutoff in all directions."""
    atoms = Atoms("SiOSi", cell=[[3.1, 0.2, -0.4], [0.7, 2.8, 0.3], [-0.5, 0.6, 3.3]], pbc=True)
    atoms.set_scaled_positions([[0.1, 0.2, 0.3], [0.6, 0.5, 0.9], [0.3, 0.8, 0.55]])
    return atoms


def unwrapped():
    """Atoms that have wandered up to 100 cells away, each for itself."""
    atoms = random_structure(9, n_atoms=150, length=14.0)
    atoms.positions += np.random.default_rng(2).integers(-100, 101, (150, 3)) @ atoms.cell.array
    return atoms


STRUCTURES = {
    "crystal": functools.partial(crystal, 6), "slab": slab, "sheared": sheared, "tiny": tiny, "unwrapped": unwrapped,
    "one atom": lambda: Atoms("Si"), "one atom in a cell": lambda: Atoms("O", cell=[2.9, 3.0, 3.1], pbc=True),
    "nothing": Atoms, "molecule": lambda: Atoms("SiO2", [[0, 0, 0], [1.6, 0, 0], [-1.5, 0.4, 0]]),
    "wire": lambda: Atoms("SiO", [[0, 0, 0], [1.5, 0.3, 0]], cell=[3, 0, 0], pbc=(True, False, False)),
    "far apart": lambda: Atoms("Si2O2", [[0, 0, 0], [2, 0, 0], [1e5, 0, 0], [1e5, 1.6, 0]]),
    "left-handed": lambda: Atoms("SiO", [[0, 0, 0], [1.5, 0, 1]], cell=[[0, 4, 0], [4, 0, 0], [0, 0, 4.5]], pbc=True)}


def cases():
    """Model and structure of each comparison, by name."""
    found = {name: ("cheap", name) for name in STRUCTURES} | {f"soap, {name}": ("soap", name) for name in ("sheared", "tiny")}
    found |= {f"{model}, {name}": (model, name) for model in ("few bodies", "ordered", "averaged", "external")
              for name in ("unwrapped", "tiny", "one atom")}
    return found


def beads(n_beads, n_atoms=60):
    """Copies of a structure, each displaced in its own way."""
    frames = []
    for bead in range(n_beads):
        atoms = random_structure(11, n_atoms=n_atoms, length=10.5)
        atoms.positions += np.random.default_rng((7, bead)).normal(0.0, 0.05, atoms.positions.shape)
        frames.append(atoms)
    return frames


def motley():
    """Frames of very unequal sizes."""
    return [tiny(), crystal(3), Atoms(), slab(), Atoms("O"), random_structure(3), sheared()]


def trajectory():
    """Frames of a moving structure: steps of about 0.05 Angstrom, atoms put back into the cell, the cell itself strained."""
    rng, atoms = np.random.default_rng(5), random_structure(12, n_atoms=90, length=12.0)
    velocities = rng.normal(0.0, 0.03, (90, 3))
    for step in range(30):
        atoms.positions += velocities
        if step % 7 == 3:
            atoms.wrap()
        if step % 5 == 2:
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0.0, 1e-3, (3, 3))), scale_atoms=True)
        yield atoms.copy()


def numbers(result):
    """A result as plain arrays."""
    return result.energy, result.energies, result.forces, result.virial


# ---- what runs on all ranks ---------------------------------------------------------------------------------------

def compare_all(comm):
    """Every case, and every batch; each rank returns what it got."""
    results, potentials = {}, {}
    for name, (model, structure) in cases().items():
        if model not in potentials:
            potentials[model] = ParallelPotential(MODELS[model](), comm)
        results[name] = numbers(potentials[model].compute(STRUCTURES[structure]()))
    for n_beads in (1, 2, 3, 5):
        results[f"{n_beads} beads"] = [numbers(r) for r in potentials["soap"].compute_batch(beads(n_beads))]
    for model in ("cheap", "averaged", "external", "few bodies"):
        results[f"motley, {model}"] = [numbers(r) for r in potentials[model].compute_batch(motley())]
    results["none"] = potentials["cheap"].compute_batch([])
    results["large"] = numbers(potentials["cheap"].compute(crystal(14)))
    return results


def differences(comm, step):
    """Forces and virial, and energies at displaced atoms and strained cells, as one batch."""
    atoms, potential = random_structure(6, n_atoms=10, length=6.0), ParallelPotential(make_two_species_model(), comm)
    frames = []
    for index in range(30):
        for sign in (1, -1):
            frames.append(atoms.copy())
            frames[-1].positions[index // 3, index % 3] += sign * step
    for index in range(9):
        for sign in (1, -1):
            strain = np.eye(3)
            strain[index // 3, index % 3] += sign * step
            frames.append(atoms.copy())
            frames[-1].set_cell(atoms.cell.array @ strain, scale_atoms=True)
    energies = np.array([result.energy for result in potential.compute_batch(frames)])
    return numbers(potential.compute(atoms)), (energies[::2] - energies[1::2]) / (2.0 * step)


def move(comm, skin):
    """A trajectory with kept lists: results, and how many lists were made; then two beads that take turns."""
    potential = ParallelPotential(cheap_model(), comm, skin=skin, n_lists=2)
    results = [numbers(potential.compute(atoms)) for atoms in trajectory()]
    n_built = potential.n_built
    first, second = beads(2)
    second.rattle(0.4, seed=3)
    for _ in range(3):
        for atoms in (first, second):
            results.append(numbers(potential.compute(atoms)))
    pair = [numbers(r) for _ in range(2) for r in potential.compute_batch([first, second])]
    return results, n_built, pair, potential.n_built - n_built


class _Failing:
    """An evaluator that cannot."""

    def __init__(self, evaluator):
        self.evaluator = evaluator

    def __getattr__(self, name):
        return getattr(self.evaluator, name)

    def evaluate(self, *_, **__):
        raise InputError("this rank has no evaluator today")


def _raised(work):
    try:
        work()
    except Exception as error:
        return type(error).__name__, str(error)
    return None


def errors(comm):
    """What each rank raises, when rank 0's structure is at fault, when the last rank alone fails; and that it goes on."""
    found = {"no file": _raised(lambda: ParallelPotential("nowhere.safetensors", comm)),
             "no skin": _raised(lambda: ParallelPotential(cheap_model(), comm, skin=-1.0))}
    potential, atoms = ParallelPotential(cheap_model(), comm, skin=0.5), crystal(2)
    strange, lost = atoms.copy(), atoms.copy()
    strange.symbols[3] = "Cu"
    lost.positions[5, 1] = np.nan
    flat = Atoms("Si", pbc=True)
    for name, bad in (("species", strange), ("position", lost), ("cell", flat)):
        found[name] = _raised(lambda bad=bad: potential.compute(bad))
    evaluator = potential.evaluator
    if comm.rank == comm.size - 1:
        potential.evaluator = _Failing(evaluator)
    found["one rank"] = _raised(lambda: potential.compute(atoms))
    potential.evaluator = evaluator
    cutoff = potential.cutoff
    if comm.rank == comm.size - 1:
        potential.cutoff = None
    found["its lists"] = _raised(lambda: potential.compute(atoms))
    potential.cutoff = cutoff
    found["its place"] = _raised(lambda: potential.serve() if comm.rank == 0 else potential.dismiss())
    return found, numbers(potential.compute(atoms))


def led(comm, seconds):
    """Rank 0 computes, errors included, and rests; the others serve: processor seconds that they need for it."""
    potential, atoms, results = ParallelPotential(cheap_model(), comm, skin=0.5), crystal(2), []
    strange = atoms.copy()
    strange.symbols[3] = "Cu"
    start = time.process_time()
    with potential.leading() as leads:
        if leads:
            results.append(_raised(lambda: potential.compute(strange)))
            results.append(numbers(potential.compute(atoms)))
            time.sleep(seconds)
            results.append([numbers(result) for result in potential.compute_batch(beads(3))])
            potential.evaluator = _Failing(potential.evaluator)
            results.append(_raised(lambda: potential.compute(atoms)))
    spent = time.process_time() - start
    return results, spent, numbers(potential.compute(tiny())) if comm.size == 1 else None


def half_led(comm):
    """One rank serves and another computes: an error on both, and no one waits for ever."""
    potential = ParallelPotential(cheap_model(), comm)
    if comm.rank == 1:
        potential.serve()
        return None
    raised = _raised(lambda: potential.compute(tiny()))
    if comm.rank == 0:
        potential.dismiss()
    return raised


def dynamics(comm, steps):
    """NVE dynamics in ASE by the same program on all ranks."""
    atoms = run_dynamics(steps, comm=comm)
    return atoms.positions, atoms.get_total_energy(), atoms.get_stress(), atoms.get_potential_energies()


def run_dynamics(steps, **arguments):
    """Some steps of a small cell; with `comm` on its ranks."""
    from soapgap import SoapGAP

    atoms = random_structure(13, n_atoms=24, length=7.5)
    atoms.set_velocities(np.random.default_rng(1).normal(0.0, 0.02, (24, 3)))
    atoms.calc = SoapGAP(cheap_model(), skin=0.4, n_threads=1, **arguments)
    VelocityVerlet(atoms, units.fs).run(steps)
    return atoms


def refused(comm):
    """What ranks with structures that differ in one thing get, and that they go on; a bit of rank 1 alone, too."""
    from soapgap import SoapGAP

    atoms, found, calculator = crystal(1), {}, SoapGAP(cheap_model(), comm=comm, n_threads=1)
    changes = {"numbers": lambda a: a.symbols.__setitem__(0, "O" if a.symbols[0] == "Si" else "Si"),
               "positions": lambda a: a.positions.__setitem__((3, 1), np.nextafter(a.positions[3, 1], 9.0)),
               "cell": lambda a: a.cell.__setitem__((2, 0), 0.01), "pbc": lambda a: setattr(a, "pbc", (True, True, False)),
               "number of atoms": lambda a: a.pop(), "nan": lambda a: a.positions.__setitem__((0, 0), np.nan)}
    for name, change in changes.items():
        other = atoms.copy()
        if comm.rank == comm.size - 1:
            change(other)
        found[name] = _raised(lambda other=other: calculator.get_potential_energy(other))
    found["stresses"] = _raised(lambda: calculator.get_stresses(atoms))
    return found, calculator.get_potential_energy(atoms)


def band(comm):
    """ASE's NEB with an image for each rank; the calculators with and without `comm`."""
    from ase.mep import NEB

    from soapgap import SoapGAP

    found = []
    for shared in (comm, None):
        images = [crystal(1) for _ in range(comm.size + 2)]
        for number, image in enumerate(images):
            image.positions[0, 0] += 0.1 * number
            image.calc = SoapGAP(cheap_model(), comm=shared, n_threads=1)
        neb = NEB(images, parallel=True, method="improvedtangent")
        for end in (images[0], images[-1]):
            end.get_potential_energy()
        found.append(_raised(neb.get_forces))
        if shared is None:
            found.append(neb.energies[1:-1].tolist())
            found.append([SoapGAP(cheap_model(), n_threads=1).get_potential_energy(image) for image in images[1:-1]])
    return found


def copied(comm):
    """Copies and pickles of a calculator on all ranks, on the world of ASE, and on a communicator of the program's own."""
    import copy

    from ase.parallel import world

    from soapgap import SoapGAP

    atoms, moved = crystal(1), crystal(1, seed=2)
    calculator = SoapGAP(cheap_model(), comm=world, n_threads=1)
    calculator.get_potential_energy(atoms)
    own = SoapGAP(cheap_model(), comm=comm.Split(0), n_threads=1)
    others = [pickle.loads(pickle.dumps(calculator)), copy.deepcopy(calculator), copy.deepcopy(own), copy.copy(own)]
    if comm.rank == 0:  # which may do so alone
        copy.deepcopy(calculator)
        pickle.loads(pickle.dumps(calculator))
    changed = calculator.set(skin=1.5)
    energies = [each.get_potential_energy(moved) for each in (calculator, own, *others)]
    kept = [each.potential.skin for each in (calculator, own, *others)]
    return (energies, kept, changed, _raised(lambda: pickle.dumps(own)), _raised(lambda: SoapGAP(cheap_model(), comm="world")),
            SoapGAP(cheap_model(), n_threads=1).get_potential_energy(moved), comm.allreduce(1))


# ---- without MPI --------------------------------------------------------------------------------------------------

def pairs_by_domains(atoms, cutoff, n_domains):
    """All pairs, domain by domain, sorted; and the shares of the domains."""
    geometry, n = Geometry(atoms.cell.array, atoms.pbc), len(atoms)
    shares = [(domain, 1.0 / n_domains) for domain in range(n_domains)]
    owner = bisect(geometry.unrolled(atoms.positions), np.ones(n), shares)
    found = [np.column_stack([np.repeat(centres, np.diff(offsets)), j, shift]) for centres, offsets, j, shift in
             (own_pairs(geometry, atoms.positions, owner == domain, cutoff) for domain in range(n_domains))]
    return found, np.bincount(owner, minlength=n_domains)


def pairs_at_once(atoms, cutoff):
    """The same from one search."""
    offsets, j, shift = find_pairs(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
    return np.column_stack([np.repeat(np.arange(len(atoms)), np.diff(offsets)), j, shift])


def counted_model(n_sparse, n_max=3):
    """One species whose SOAP term has so many sparse points, all alike but for weights."""
    n_features = 4 * n_max * (n_max + 1) // 2
    points = np.full((n_sparse, n_features), n_features**-0.5)
    return Model(["Si"], {"Si": 0.0}, [soap_term("Si", ["Si"], n_max, 3, points, np.ones((1, n_sparse)))])


if __name__ == "__main__":
    from mpi4py import MPI

    name, arguments, folder = sys.argv[1:]
    outcome = globals()[name](MPI.COMM_WORLD, **json.loads(arguments))
    (Path(folder) / f"rank{MPI.COMM_WORLD.rank}").write_bytes(pickle.dumps(outcome))
