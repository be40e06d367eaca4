"""One structure through every interface: Cython, ASE, LAMMPS on one and two ranks, and the i-PI driver's socket.

Run with `pytest -n 0 -s tests/test_hosts.py` to see the table. Agreement is max(1e-10 of the largest value of the same
quantity, 4 eps zeta S), S = sum |alpha| delta^2 (weights cancel).
"""

import struct
from dataclasses import replace

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.stress import voigt_6_to_full_3x3_stress
from ase.units import Bohr, Hartree
from few_body_models import make_channels_model, make_few_body_model
from ipi_tools import BOHR, Driver, Server, posdata_bytes, short_directory
from lammps_tools import MEASURE, header, lmp_ok, measured, write_data
from models import CUTOFF, SPECIES, make_two_species_model, random_structure

from soapgap import SoapGAP
from soapgap.model import SoapTerm
from soapgap.neighbours.arrays import neighbour_arrays
from soapgap.reduction.soap import reduce_term


def triclinic() -> Atoms:
    atoms = random_structure(31, n_atoms=30, length=8.0)
    atoms.set_cell([[8.0, 0, 0], [1.3, 8.2, 0], [-0.9, 0.7, 7.9]], scale_atoms=True)
    return atoms


def slab() -> Atoms:
    atoms = bulk("Si", cubic=True) * (2, 2, 1)
    atoms.symbols[::3] = "O"
    atoms.rattle(0.15, seed=2)
    atoms.center(vacuum=5.0, axis=2)
    atoms.pbc = (True, True, False)
    return atoms


STRUCTURES = {"triclinic": triclinic(), "slab": slab()}


def by_cython(model, atoms, folder):
    evaluator, nb = model.evaluator(), neighbour_arrays(atoms, CUTOFF, SPECIES)
    energies, gradients = evaluator.evaluate(nb)
    return energies.sum(), *evaluator.forces_and_virial(nb, gradients)


def by_ase(model, atoms, folder):
    atoms = atoms.copy()
    atoms.calc = SoapGAP(model)
    virial = -voigt_6_to_full_3x3_stress(atoms.get_stress()) * atoms.get_volume()
    return atoms.get_potential_energy(), atoms.get_forces(), virial


def by_lammps(model, atoms, folder, ranks=1):
    model.save(folder / "m.safetensors")
    write_data(folder / "data.lammps", atoms, SPECIES)
    boundary = " ".join("p" if periodic else "f" for periodic in atoms.pbc)
    style = f"pair_style soapgap\npair_coeff * * m.safetensors {' '.join(SPECIES)}\n"
    lmp_ok(folder, header(boundary) + style + MEASURE, ranks)
    result = measured(folder)
    xx, yy, zz, xy, xz, yz = result.virial
    return result.energy, result.forces, np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def by_ipi(model, atoms, folder):
    model.save(folder / "m.safetensors")
    ase.io.write(folder / "start.xyz", atoms)
    with short_directory() as sockets:
        server = Server(f"{sockets}/hosts")
        driver = Driver(folder / "m.safetensors", folder / "start.xyz", unix="hosts", prefix=f"{sockets}/")
        server.handshake()
        exact = BOHR / Bohr  # the helper's bohr has ten digits
        server.send(posdata_bytes(atoms.cell.array * exact, atoms.positions * exact))
        server.send(b"GETFORCE".ljust(12))
        answer = server.answer(len(atoms))
        server.exit()
        driver.wait()
        server.close()
    n = len(atoms)
    energy, count = struct.unpack("=di", answer[12:24])
    assert count == n
    forces = np.frombuffer(answer[24:24 + 24 * n]).reshape(n, 3)
    virial = np.frombuffer(answer[24 + 24 * n:24 + 24 * n + 72]).reshape(3, 3)
    return energy * Hartree, forces * Hartree / Bohr, virial * Hartree


HOSTS = {"ASE": by_ase, "LAMMPS, 1 rank": by_lammps, "i-PI driver": by_ipi,
         "LAMMPS, 2 ranks": lambda model, atoms, folder: by_lammps(model, atoms, folder, 2)}


def reduced_model():
    """The test model with the reduced form of its terms."""
    exact = make_two_species_model()
    return replace(exact, terms=[reduce_term(t, 1e-10) if isinstance(t, SoapTerm) else t for t in exact.terms])


FORMS = {"exact": make_two_species_model, "reduced": reduced_model, "few bodies": make_few_body_model,
         "few bodies, splines": lambda: make_few_body_model("spline"), "channels": make_channels_model}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", STRUCTURES)
def test_every_host_gives_the_same_numbers(name, form, tmp_path):
    model, atoms = FORMS[form](), STRUCTURES[name]
    expected = by_cython(model, atoms, tmp_path)
    floor = 4 * np.finfo(float).eps * max(t.zeta * t.cancellation for t in model.terms if hasattr(t, "zeta"))
    assert min(np.abs(quantity).max() for quantity in expected) > 0.1
    print(f"\n{name}, {form}, {len(atoms)} atoms: largest difference from Cython, relative to the largest value\n"
          f"{'':18s}{'energy':>10s}{'forces':>10s}{'virial':>10s}")
    for host, compute in HOSTS.items():
        folder = tmp_path / host.replace(",", "").replace(" ", "-")
        folder.mkdir()
        line = f"{host:18s}"
        for got, want in zip(compute(model, atoms, folder), expected, strict=True):
            largest = np.abs(want).max()
            line += f"{np.abs(got - want).max() / largest:10.1e}"
            np.testing.assert_allclose(got, want, rtol=0, atol=max(1e-10 * largest, floor), err_msg=host)
        print(line)
