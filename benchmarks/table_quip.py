"""Potentials that gap_fit made, converted: soapgap beside QUIP on the very same file, on silicon, one core."""

import hashlib
import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
from ase.io import read
from common import Table, installed, interleaved, launch, median, pairwise, workers
from systems import mean_neighbours, structure
from table_fit import gap_fit_program

from soapgap.model import Model
from soapgap.quip.convert import convert

N_ATOMS = 216
SOAP = ("soap cutoff=5.0 cutoff_transition_width=0.5 n_max={n} l_max={l} atom_sigma=0.5 zeta=4 delta=1.0 n_sparse=1000 "
        "covariance_type=dot_product sparse_method=cur_points add_species=T")
TURBO = ("soap_turbo l_max=8 alpha_max={{8}} atom_sigma_r={{0.5}} atom_sigma_t={{0.5}} atom_sigma_r_scaling={{0.0}} "
         "atom_sigma_t_scaling={{0.0}} amplitude_scaling={{1.0}} central_weight={{1.0}} radial_enhancement=1 rcut_hard=5.0 "
         "rcut_soft=4.5 basis=poly3gauss scaling_mode=polynomial n_species=1 species_Z={{14}} central_index=1 {more}"
         "covariance_type=dot_product zeta=4 delta=1.0 n_sparse=1000 sparse_method=cur_points add_species=F")
PAIR = ("distance_2b cutoff=5.0 cutoff_transition_width=1.0 covariance_type=ard_se delta=1.0 theta_uniform=1.0 n_sparse=20 "
        "sparse_method=uniform add_species=T")
TRIPLET = ("angle_3b cutoff=4.1 cutoff_transition_width=1.0 covariance_type=ard_se delta=0.3 theta_fac=0.5 n_sparse=500 "
           "sparse_method=uniform add_species=T")
CASES = {
    "pair + triplet, 20 + 500 points": f"{PAIR} : {TRIPLET}",
    "soap 10, 12": SOAP.format(n=10, l=12),
    "soap 8, 8": SOAP.format(n=8, l=8),
    "soap_turbo 8, 8": TURBO.replace("{more}", ""),
    "soap_turbo 8, 8, trivial compression": TURBO.replace("{more}", "compress_mode=trivial "),
}
COLUMNS = [
    ("case", "case (1000 points)", ""), ("neighbours", "neighb.", ".0f"), ("soapgap_us", "soapgap", ".1f"),
    ("exact_us", "exact", ".1f"), ("quip_us", "QUIP", ".0f"), ("quip_ratio", "ratio", ".1f"),
    ("quip_ratio_low", "lowest", ".1f"), ("quip_ratio_high", "highest", ".1f"), ("largest_force", "largest F", ".2f"),
    ("force_difference", "QUIP dF", ".0e"), ("reduction_difference", "exact dF", ".0e"), ("soapgap_mb", "soapgap MB", ".0f"),
    ("quip_mb", "QUIP MB", ".0f"),
]


def measure(options, screen):
    """Case by case; a potential is fitted once and kept in the output folder."""
    program = gap_fit_program() if installed("quippy", screen, "QUIP (quippy-ase)") else None
    if program is None:
        screen.line("quip: no gap_fit: skipped")
        return
    rows = []
    for name, gap in CASES.items():
        rows.append(one_case(name, fitted(gap, program, options.output, screen), options, screen))
    title = f"converted potentials, us/atom, one core, medians of {options.pairs} interleaved rounds"
    yield Table("quip", title, COLUMNS, rows, [
        "energy, forces and virial in ASE of structures never seen before, new neighbour list included",
        "soapgap: as `soapgap convert` makes it (reduced kernels, splines of triplets); exact: with --exact",
        "gap_fit's fits to the energies and forces of the silicon data that soapgap ships; dF: largest difference of a force, "
        "eV/A"])


def fitted(gap, program, folder, screen) -> Path:
    """The potential of these terms, from the output folder or fitted now."""
    data = Path(str(files("soapgap.demo"))) / "data" / "si_train.xyz"
    digest = hashlib.sha256(gap.encode() + data.read_bytes()).hexdigest()[:16]
    place = Path(folder, "models", f"quip-{digest}")
    if not (place / "gap.xml").exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        write_frames(place / "train.xyz", read(data, ":"))
        screen.line(f"gap_fit: {gap[:60]}...")
        done = launch([program, "at_file=train.xyz", f"gap={{{gap}}}", "gp_file=gap.xml", "e0={Si:0.0}",
                       "default_sigma={0.001 0.05 0.0 0.0}", "sparse_jitter=1e-8", "energy_parameter_name=energy",
                       "force_parameter_name=force", "do_copy_at_file=F", "rnd_seed=1"], place)
        screen.line(f"  {done['seconds']:.0f} s, {done['bytes'] / 1e9:.2f} GB")
    return place / "gap.xml"


def write_frames(path, frames):
    """Energies and forces only, with all digits."""
    lines = []
    for atoms in frames:
        lattice = " ".join(f"{x:.17g}" for x in atoms.cell.array.ravel())
        lines += [str(len(atoms)), f'Lattice="{lattice}" Properties=species:S:1:pos:R:3:force:R:3 pbc="T T T" '
                                   f"energy={atoms.get_potential_energy():.17g}"]
        lines += [symbol + "".join(f" {x:.17g}" for x in (*r, *f))
                  for symbol, r, f in zip(atoms.symbols, atoms.positions, atoms.get_forces())]
    path.write_text("\n".join(lines) + "\n")


def one_case(name, xml, options, screen) -> dict:
    """One row: three programs in processes of their own, interleaved."""
    paths = {kind: xml.with_name(f"{kind}.safetensors") for kind in ("soapgap", "exact")}
    for kind, path in paths.items():
        convert(xml, path, exact=kind == "exact")
    spec = {"n_atoms": N_ATOMS, "rattle": 0.1}
    specs = {kind: {"program": "soapgap", "model": str(path), "structure": spec} for kind, path in paths.items()}
    specs["quip"] = {"program": "quip", "xml": str(xml), "structure": spec}
    atoms = structure(spec, 0)
    row = {"case": name, "neighbours": mean_neighbours(atoms, max(t.cutoff for t in Model.load(paths["exact"]).terms))}
    with workers(specs) as programs:
        times = interleaved({k: w.seconds for k, w in programs.items()}, options.pairs,
                            lambda text: screen.progress(f"{name}: {text}"))
        for kind, worker in programs.items():
            row |= {f"{kind}_us": 1e6 * median(times[kind]) / len(atoms), f"{kind}_mb": worker.peak_bytes() / 1e6}
        row |= {f"quip_{key}": value for key, value in pairwise(times["quip"], times["soapgap"]).items()}
        forces = {kind: worker.forces() for kind, worker in programs.items()}
    row |= {"largest_force": float(np.abs(forces["exact"]).max()), "seconds": times,
            "force_difference": float(np.abs(forces["exact"] - forces["quip"]).max()),
            "reduction_difference": float(np.abs(forces["exact"] - forces["soapgap"]).max())}
    return row


def plot(figure, tables):
    """Cost per atom, logarithmic."""
    rows, axes = tables[0].rows, figure.subplots()
    for k, name in enumerate(("soapgap", "quip")):
        bars = axes.bar(np.arange(len(rows)) + 0.4 * (k - 0.5), [row[f"{name}_us"] for row in rows], 0.38, label=name)
        if name == "quip":
            axes.bar_label(bars, [f"{row['quip_ratio']:.0f}x" for row in rows], fontsize=8)
    axes.set_xticks(np.arange(len(rows)), [row["case"] for row in rows], rotation=15, fontsize=7)
    axes.set(yscale="log", ylabel="us / atom", title="potentials made by gap_fit: energy, forces, virial in ASE")
    axes.legend()
