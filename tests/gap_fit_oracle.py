"""The same fit by gap_fit and by us: one command line, one file of sparse points for every kernel."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
from programs import run_gap_fit
from quip_fits import quip_results
from training_tools import observed, toy_frames

from soapgap.gap_fit.run import run

PAIR = "distance_2b cutoff=4.0 cutoff_transition_width=1.0 covariance_type=ard_se delta=0.9 theta_uniform=0.7 n_sparse=8"
SOAP = ("soap n_max=4 l_max=3 cutoff=4.0 cutoff_transition_width=1.0 atom_sigma=0.5 zeta=2 delta=0.8 "
        "covariance_type=dot_product central_weight=0.9 n_sparse=14")
ANGLE = "angle_3b cutoff=3.2 cutoff_transition_width=0.8 covariance_type=ard_se delta=0.3 n_sparse=12"
CLUSTER = ("distance_Nb order=3 compact_clusters=F cutoff=3.2 cutoff_transition_width=0.8 covariance_type=ard_se "
           "theta_uniform=1.1 delta=0.4 n_sparse=12")


def program(folder, *words):
    """Run gap_fit in a folder; returns what it printed."""
    done = run_gap_fit(folder, *words)
    return done.stdout + done.stderr


def ours(monkeypatch, folder, *words, **options):
    """The same by us."""
    monkeypatch.chdir(folder)
    return run(words, threads=1, quiet=True, **options)


def with_files(folder, xml):
    """The descriptor strings of a potential, with its sparse points in files."""
    strings = []
    for n, node in enumerate(ElementTree.parse(folder / xml).getroot().iter("gpCoordinates")):
        weights = [float(point.get("sparseCutoff")) for point in node.iter("sparseX")]
        points = np.loadtxt(folder / node.get("sparseX_filename")).reshape(len(weights), -1)
        name = f"{xml}.points{n}"
        np.savetxt(folder / name, np.column_stack([weights, points]).reshape(-1, 1), fmt="%.17e")
        text = re.sub(r"(n_sparse|sparse_method|config_type_n_sparse)=\S+", "", node.find("descriptor").text)
        strings.append(f"{{{text} sparse_method=FILE sparse_file={name} add_species=F}}")
    return strings


def system(folder, prefix):
    """K_mm, K_nm, lambda and targets from the four files."""
    k_mm, k_nm, variance, y = (np.loadtxt(folder / f"{prefix}_{what}") for what in
                               ("Kmm", "Kmn.0", "lambda.0", "globalY.0"))
    m = int(np.sqrt(len(k_mm)))
    return {"K_mm": k_mm.reshape(m, m), "K_nm": k_nm.reshape(-1, m), "lambda": variance, "y": y}


def assert_same_system(folder, theirs, mine, tolerance=1e-11, leave_out=0):
    """All numbers of the linear system (but for some rows at the end), relative to the largest of each kind."""
    found, expected = system(folder, mine), system(folder, theirs)
    for what, numbers in expected.items():
        assert found[what].shape == numbers.shape, what
        n_rows = len(numbers) - (0 if what == "K_mm" else leave_out)
        difference = np.abs(found[what] - numbers)[:n_rows].max()
        assert difference <= tolerance * np.abs(numbers[:n_rows]).max(), (what, difference / np.abs(numbers).max())
    return expected


def assert_same_predictions(folder, theirs, mine, structures, e0, tolerance=1e-8):
    """E (less e0), F and W of two potential files by quippy, relative to the largest."""
    expected, found = (quip_results(folder / xml, structures) for xml in (theirs, mine))
    for part in range(3):
        largest = worst = 0.0
        for atoms, a, b in zip(structures, expected, found, strict=True):
            zero = sum(e0[s] for s in atoms.symbols) if part == 0 else 0.0
            largest = max(largest, np.abs(a[part] - zero).max())
            worst = max(worst, np.abs(a[part] - b[part]).max())
        assert largest > 0.2, part
        assert worst <= tolerance * largest, (part, worst, largest)


def labelled_cells(n, seed, species, *kinds):
    """Strained cells of 8 atoms with observations of the toy potential."""
    return [observed(atoms, *kinds, seed=k) for k, atoms in enumerate(toy_frames(n, seed=seed, species=species))]
