"""The Stillinger-Weber potential of silicon as an ASE calculator, computed by LAMMPS.

It is the reference of the demo: it labels the shipped training data and the elastic constants are compared with it.
F. H. Stillinger and T. A. Weber, Phys. Rev. B 31, 5262 (1985).
"""

from importlib.resources import files

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from ..errors import HostError, InputError

SILICON_MASS = 28.085  # u, IUPAC abridged standard atomic weight


def start_lammps():
    """An in-process LAMMPS that prints and logs nothing.

    The mpi4py import comes first because it brings libmpi, without which the LAMMPS library cannot be loaded.

    Raises
    ------
    HostError
        LAMMPS or mpi4py is missing.
    """
    try:
        from lammps import lammps
        from mpi4py import MPI  # noqa: F401
    except ImportError as error:
        raise HostError(
            f"the Stillinger-Weber reference needs LAMMPS and mpi4py, got '{error}'; "
            "install them with pip install 'soapgap[lammps,mpi]'"
        ) from error
    return lammps(cmdargs=["-screen", "none", "-log", "none", "-nocite"])


def lower_triangular(cell):
    """Lower-triangular cell with positive diagonal and the rotation that gives it.

    Parameters
    ----------
    cell : array (3, 3)
        Cell vectors as rows, right-handed.

    Returns
    -------
    lower, rotation : arrays (3, 3)
        ``cell = lower @ rotation``; a row vector v of the old frame is ``v @ rotation.T`` in the new one.
    """
    q, r = np.linalg.qr(np.asarray(cell, dtype=float).T)
    signs = np.sign(np.diag(r))
    return (r.T * signs), (q * signs).T


class StillingerWeber(Calculator):
    """Energy, forces and stress of silicon from LAMMPS ``pair_style sw``.

    Units are ASE's: eV, eV/Angstrom, eV/Angstrom^3. The cell must be periodic in all directions and right-handed
    (surround slabs and single atoms by vacuum); any shape will do.

    Raises
    ------
    InputError
        Elements other than silicon, or a cell that is not fully periodic.
    HostError
        LAMMPS is missing.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._lammps = start_lammps()

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        check_silicon(self.atoms)
        rotation = lower_triangular(self.atoms.cell.array)[1]
        lmp = self._lammps
        create_system(lmp, self.atoms, "pair_style sw", f'pair_coeff * * "{files(__package__) / "data" / "Si.sw"}" Si')
        lmp.commands_string("thermo_style custom pe pxx pyy pzz pyz pxz pxy\nrun 0 post no")
        n = len(self.atoms)
        forces = np.array(lmp.gather_atoms("f", 1, 3), dtype=float).reshape(n, 3)
        # LAMMPS gives pressures in bar; dividing by its own conversion constant returns eV/Angstrom^3
        p = [lmp.get_thermo(name) / lmp.extract_global("nktv2p") for name in ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")]
        stress = -np.array([[p[0], p[5], p[4]], [p[5], p[1], p[3]], [p[4], p[3], p[2]]])
        stress = rotation.T @ stress @ rotation
        energy = lmp.get_thermo("pe")
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": forces @ rotation,
            "stress": stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]],
        }


def check_silicon(atoms):
    """Raise InputError unless ``atoms`` is silicon in a right-handed, fully periodic cell."""
    others = sorted(set(atoms.get_chemical_symbols()) - {"Si"})
    if others:
        raise InputError(f"the Stillinger-Weber reference knows Si only, got {', '.join(others)}")
    if not atoms.pbc.all() or atoms.cell.volume <= 0 or np.linalg.det(atoms.cell.array) < 0:
        raise InputError(
            f"the Stillinger-Weber reference needs a right-handed cell that is periodic in all directions, got "
            f"pbc {atoms.pbc.tolist()}, cell {atoms.cell.tolist()}; add vacuum and set pbc=True"
        )


def create_system(lmp, atoms, pair_style, pair_coeff):
    """Clear LAMMPS and build ``atoms`` in it (one type, mass of silicon, ids in the order of ``atoms``)."""
    lower, rotation = lower_triangular(atoms.cell.array)
    wrapped = atoms.get_scaled_positions(wrap=True) @ lower
    sides = " ".join(f"0 {x:.17g}" for x in np.diag(lower))
    tilts = f"{lower[1, 0]:.17g} {lower[2, 0]:.17g} {lower[2, 1]:.17g}"
    lmp.commands_string(
        f"clear\nunits metal\natom_modify map yes sort 0 0\nbox tilt large\n"
        f"region cell prism {sides} {tilts} units box\ncreate_box 1 cell\nmass 1 {SILICON_MASS}\n"
        f"{pair_style}"
    )
    n = len(atoms)
    lmp.create_atoms(n, list(range(1, n + 1)), [1] * n, wrapped.ravel().tolist())
    lmp.command(pair_coeff)
