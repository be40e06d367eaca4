"""Energies, forces and virials of a file of structures: for `soapgap evaluate`."""

import io
from collections.abc import Iterator
from pathlib import Path

import ase.io
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from soapgap.data.xyz import refuse_hidden_frames
from soapgap.errors import InputError, SoapGAPError
from soapgap.files import write_atomically
from soapgap.model import Model
from soapgap.parallel import ParallelPotential
from soapgap.potential import Potential, Result
from soapgap.ranks import start_ranks

__all__ = ["evaluate_file", "read_structures"]

ATOMS_AT_ONCE = 5_000  # for each rank: bounds the memory of neighbour lists, about 10 kB per atom with 100 neighbours


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
        # parallel: among MPI ranks ASE would wait for the other ranks to read too
        frames = ase.io.read(path, index=":", do_not_split_by_at_sign=True, parallel=False)
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
    does not give its part of is left out.

    Under an MPI launcher all ranks compute; rank 0 reads, writes, and has the errors.

    Raises
    ------
    InputError
        For files that cannot be used, and structures that the model cannot compute (the message says which).
    HostError
        Under an MPI launcher without the mpi4py of its MPI.
    """
    ranks = start_ranks()
    if ranks.size == 1:
        _refuse_to_overwrite(output, model, structures)
        frames = read_structures(structures)
        _evaluate(Potential(model, n_threads=n_threads, allow_external=allow_external), frames, structures, output)
        return
    try:
        _refuse_to_overwrite(output, model, structures)
        potential = ParallelPotential(model, ranks.communicator, n_threads=n_threads, allow_external=allow_external)
    except SoapGAPError:
        if ranks.is_root:
            raise
        return  # all ranks have the same error; it is said once
    with potential.leading() as leads:
        if leads:
            _evaluate(potential, read_structures(structures), structures, output, ranks.size)


def _refuse_to_overwrite(output, *inputs) -> None:
    if any(Path(output).resolve() == Path(one).resolve() for one in inputs if not isinstance(one, Model)):
        raise InputError(f"{output} is an input of this command; choose another name for its output")


def _evaluate(potential, frames, structures, output, n_ranks: int = 1) -> None:
    done = []
    for atoms, result in zip(frames, _results(potential, frames, structures, n_ranks * ATOMS_AT_ONCE)):
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
    ase.io.write(text, done, format="extxyz", parallel=False)
    write_atomically(output, text.getvalue())


def _results(potential, frames, structures, n_atoms: int) -> Iterator[Result]:
    """Results in the order of the frames, computed in batches of about this many atoms."""
    first = 0
    while first < len(frames):
        last, total = first + 1, len(frames[first])
        while last < len(frames) and total + len(frames[last]) <= n_atoms:
            total += len(frames[last])
            last += 1
        try:
            yield from potential.compute_batch(frames[first:last])
        except InputError:  # of one of them: which?
            for number in range(first, last):
                yield _one(potential, frames[number], f"{structures}, structure {number}")
        first = last


def _one(potential, atoms, name: str) -> Result:
    try:
        return potential.compute(atoms)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
