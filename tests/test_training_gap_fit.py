"""The same fit by gap_fit, an independent program: same data, same sparse points, same predictions."""


import numpy as np
import pytest
from ase.data import atomic_numbers
from programs import run_gap_fit
from quip_oracle import descriptor_string, to_quip_order
from training_tools import E0, PAIR, SOAP, configuration, isolated, toy_frames, write_frames

from soapgap.fitting import fit
from soapgap.model import PairTerm, SoapTerm
from soapgap.potential import Potential

JITTER = 1e-8
SIGMA = [0.002, 0.05, 0.02]


def sparse_file(path, rows):
    """QUIP's sparse_file: for every point the cutoff factor 1, then its components, one number per line."""
    np.savetxt(path, np.column_stack([np.ones(len(rows)), rows]).reshape(-1, 1), fmt="%.17e")
    return path


def gap_string(model, folder) -> str:
    """The `gap=` option that repeats the terms of a fitted model, with its sparse points from files."""
    parts = []
    for n, term in enumerate(model.terms):
        if isinstance(term, SoapTerm):
            points = sparse_file(folder / f"sparse{n}.dat", to_quip_order(term.sparse_points, term.l_max))
            descriptor = descriptor_string(term).replace("{", "{{").replace("}", "}}")  # a brace within a brace
            parts.append(f"{descriptor} covariance_type=dot_product zeta={term.zeta:g} "
                         f"delta={term.delta:g} n_sparse={len(term.sparse_points)} sparse_method=FILE "
                         f"sparse_file={points.name} add_species=F")
        else:
            x = term.sparse["sparse_points"]
            points = sparse_file(folder / f"sparse{n}.dat", x[:, None])
            z1, z2 = (atomic_numbers[s] for s in term.species)
            o = term.origin
            parts.append(f"distance_2b cutoff={o['cutoff']:g} cutoff_transition_width={o['cutoff_transition_width']:g} "
                         f"Z1={z1} Z2={z2} covariance_type=ard_se theta_uniform={o['theta']:g} delta={o['delta']:g} "
                         f"n_sparse={len(x)} sparse_method=FILE sparse_file={points.name} add_species=F")
    return "gap={" + " : ".join(parts) + "}"


def quip_xyz(path, frames):
    """Extended XYZ as QUIP reads it: all digits, the virial as nine numbers."""
    lines = []
    for atoms in frames:
        results = atoms.calc.results
        cell = " ".join(f"{v:.16g}" for v in atoms.cell.array.ravel())
        virial = " ".join(f"{v:.16g}" for v in np.asarray(atoms.info["virial"]).ravel())
        lines.append(f"{len(atoms)}")
        lines.append(f'Lattice="{cell}" Properties=species:S:1:pos:R:3:forces:R:3 energy={results["energy"]:.16g} '
                     f'virial="{virial}" config_type={atoms.info["config_type"]} pbc="T T T"')
        for symbol, position, force in zip(atoms.symbols, atoms.positions, results["forces"], strict=True):
            lines.append(symbol + "".join(f" {v:.16g}" for v in [*position, *force]))
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("species", [("Si",), ("Si", "C")])
def test_predictions_equal_gap_fit_s(tmp_path, species):
    """Pair and SOAP terms, energies, forces and virials, two config types; unseen structures."""
    quippy = pytest.importorskip("quippy")
    frames = [*(isolated(s) for s in species), *toy_frames(10, seed=11, species=species)]
    for k, atoms in enumerate(frames):
        atoms.info["config_type"] = "odd" if k % 2 else "even"
    write_frames(tmp_path / "train.xyz", frames)
    quip_xyz(tmp_path / "train.xyz", frames)
    terms = [PAIR | {"n_sparse": 8}, SOAP | {"radial_basis": "equispaced", "n_sparse": 20}]
    config = configuration(tmp_path, terms=terms, default_sigma=SIGMA, sparse_jitter=JITTER, baseline={"kind": "none"},
                           config_type_sigma={"odd": [0.004, 0.1, 0.05]}, e0={s: E0[s] for s in species})
    model = fit(config, quiet=True, threads=1).model
    assert {type(t) for t in model.terms} == {PairTerm, SoapTerm}
    e0 = ":".join(f"{s}:{E0[s]}" for s in species)
    done = run_gap_fit(tmp_path, "at_file=train.xyz", gap_string(model, tmp_path), "gp_file=gap.xml", f"e0={{{e0}}}",
                       f"default_sigma={{{SIGMA[0]} {SIGMA[1]} {SIGMA[2]} 0.0}}", f"sparse_jitter={JITTER}",
                       "config_type_sigma={odd:0.004:0.1:0.05:0.0}", "force_parameter_name=forces", "do_copy_at_file=F")
    assert (tmp_path / "gap.xml").exists(), done.stdout[-2000:] + done.stderr[-2000:]

    oracle = quippy.potential.Potential("", param_filename=str(tmp_path / "gap.xml"))
    ours = Potential(model)
    largest = dict.fromkeys("efw", 0.0)
    worst = dict.fromkeys("efw", 0.0)
    for atoms in toy_frames(4, seed=12, species=species):
        oracle.calculate(atoms, properties=["energy", "forces", "stress"],
                         system_changes=["positions", "numbers", "cell", "pbc"])
        result = ours.compute(atoms)
        s = oracle.results["stress"]
        virial = -atoms.get_volume() * np.array([[s[0], s[5], s[4]], [s[5], s[1], s[3]], [s[4], s[3], s[2]]])
        for key, mine, theirs in (
            ("e", result.energy - sum(E0[x] for x in atoms.symbols),
             oracle.results["energy"] - sum(E0[x] for x in atoms.symbols)),
            ("f", result.forces, oracle.results["forces"]),
            ("w", result.virial, virial),
        ):
            worst[key] = max(worst[key], float(np.abs(mine - theirs).max()))
            largest[key] = max(largest[key], float(np.abs(theirs).max()))
    assert min(largest.values()) > 0.5
    for key in "efw":
        assert worst[key] < 1e-8 * largest[key], (worst, largest)
