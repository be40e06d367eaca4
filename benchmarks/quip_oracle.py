"""Our models as QUIP GAP files, and quippy as an independent program (tests and benchmarks only).

Formats and factors: DESIGN's QUIP specification, sections 3.1, 7.1 and 7.3. Only what these tests need: soap terms in the
equispaced Gaussian basis and e0.
"""

from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
from ase.data import atomic_numbers


def to_quip_order(features: np.ndarray, l_max: int) -> np.ndarray:
    """Features [..., l, IJ] -> QUIP's [..., IJ, l] and its extra last element (zero)."""
    blocks = features.reshape(*features.shape[:-1], l_max + 1, -1)
    flat = np.swapaxes(blocks, -1, -2).reshape(*features.shape[:-1], -1)
    return np.concatenate([flat, np.zeros((*features.shape[:-1], 1))], axis=-1)


def descriptor_string(term) -> str:
    """The descriptor string of a soap term."""
    if term.basis["radial_basis"] != "equispaced":
        raise ValueError(f"radial basis {term.basis['radial_basis']}, QUIP's own is 'equispaced'")
    if term.basis["cutoff_function"] != "cosine":
        raise ValueError("QUIP's cutoff function is the cosine")
    zs = " ".join(str(atomic_numbers[s]) for s in term.neighbours)
    return (f"soap cutoff={term.cutoff} cutoff_transition_width={term.basis['cutoff_transition_width']} n_max={term.n_max} "
            f"l_max={term.l_max} atom_sigma={term.basis['atom_sigma']} central_weight={term.basis['central_weight']} "
            f"central_reference_all_species=F n_species={len(term.neighbours)} species_Z={{{zs}}} n_Z=1 "
            f"Z={atomic_numbers[term.centre]}")


def write_quip_model(model, folder) -> Path:
    """Write gap.xml and its sparse-point files for quippy; returns the path of gap.xml."""
    folder = Path(folder)
    e0 = "".join(f'<e0 Z="{atomic_numbers[s]}" value="{model.e0[s]:.17g}"/>\n' for s in model.species)
    coordinates = []
    for n, term in enumerate(model.terms, start=1):
        name = f"gap.xml.sparseX.soapgap{n}"
        x = to_quip_order(term.sparse_points, term.l_max)
        np.savetxt(folder / name, x.reshape(-1, 1), fmt="%.20e")
        points = "".join(f'<sparseX i="{i}" alpha="{a:.17g}" sparseCutoff="1.0"/>\n'
                         for i, a in enumerate(term.weights[0], start=1))
        coordinates.append(
            f'<gpCoordinates label="soapgap{n}" dimensions="{x.shape[1]}" signal_variance="{term.delta:.17g}" '
            f'signal_mean="0.0" sparsified="T" n_permutations="1" covariance_type="2" zeta="{term.zeta:.17g}" '
            f'n_sparseX="{len(x)}" sparseX_filename={quoteattr(name)}>\n'
            f"<descriptor>{descriptor_string(term)}</descriptor>\n"
            f'<permutation i="1">1 </permutation>\n{points}</gpCoordinates>\n')
    xml = folder / "gap.xml"
    xml.write_text(
        '<soapgap>\n<Potential label="soapgap" init_args="IP GAP label=soapgap"/>\n'
        f'<GAP_params label="soapgap" gap_version="1596837814">\n<GAP_data do_core="F">\n{e0}</GAP_data>\n'
        f'<gpSparse label="soapgap" n_coordinate="{len(model.terms)}" fitted="T">\n{"".join(coordinates)}</gpSparse>\n'
        "</GAP_params>\n</soapgap>\n")
    return xml


def quip_calculator(xml):
    """quippy's calculator of the potential in a file."""
    from quippy.potential import Potential

    return Potential("", param_filename=str(xml))


def quip_evaluate(calculator, atoms):
    """Energy, forces and stress of one structure in one pass of QUIP."""
    atoms = atoms.copy()
    calculator.calculate(atoms, properties=["energy", "forces", "stress"],
                         system_changes=["positions", "numbers", "cell", "pbc"])
    return calculator.results
