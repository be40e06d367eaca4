"""`soapgap evaluate`: energies, forces and virials of a file of structures."""

import io
from pathlib import Path

import ase.io
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from soapgap.errors import InputError
from soapgap.files import write_atomically
from soapgap.model import Model
from soapgap.potential import Potential
from soapgap.xyz import refuse_hidden_frames

__all__ = ["evaluate_file", "read_structures"]


def read_structures(path) -> list:
    """All structures of a file in any format that ASE reads.

    Raises
    ------
    InputError
        If the file is missing, empty, or not understood.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected structures in a format that ASE reads, such as extended XYZ")
    try:
        frames = ase.io.read(path, index=":", do_not_split_by_at_sign=True)
        if path.name.split(".", 1)[-1].split(".")[0] in ("xyz", "extxyz"):
            refuse_hidden_frames(path, str(path))
    except InputError:
        raise
    except Exception as error:  # ASE's readers raise whatever their parsing runs into
        raise InputError(f"{path}: ASE cannot read it ({type(error).__name__}: {error}); expected structures in a format "
                         "that ASE reads, such as extended XYZ") from None
    if not frames:
        raise InputError(f"{path}: holds no structure; expected at least one")
    return frames


def evaluate_file(model, structures, output, n_threads: int | None = None, allow_external: bool = False) -> None:
    """Evaluate every structure of a file and write them as extended XYZ.

    Written per structure: ``energy`` (eV), ``forces`` (eV/Angstrom), ``virial`` (W = -dE/dstrain, eV, nine numbers),
    ``stress`` (eV/Angstrom^3, where there is a cell) and the atoms' ``energies`` (eV). What an external potential of the model
    does not tell its part of is left out.
    """
    if any(Path(output).resolve() == Path(one).resolve() for one in (model, structures) if not isinstance(one, Model)):
        raise InputError(f"{output} is an input of this command; choose another name for its output")
    frames = read_structures(structures)
    potential = Potential(model, n_threads=n_threads, allow_external=allow_external)
    done = []
    for number, atoms in enumerate(frames):
        try:
            result = potential.compute(atoms)
        except InputError as error:
            raise InputError(f"{structures}, structure {number}: {error}") from None
        fresh = atoms.copy()
        values = {"energy": result.energy, "forces": result.forces}
        if result.energies is not None:
            values["energies"] = result.energies
        if result.virial is not None:
            fresh.info["virial"] = result.virial
            if fresh.cell.rank == 3:
                values["stress"] = full_3x3_to_voigt_6_stress(-result.virial / fresh.get_volume())
        fresh.calc = SinglePointCalculator(fresh, **values)
        done.append(fresh)
    text = io.StringIO()
    ase.io.write(text, done, format="extxyz")
    write_atomically(output, text.getvalue())
