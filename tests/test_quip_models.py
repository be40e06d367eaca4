"""Models of QUIP read by us: energies, forces, virials and local energies beside quippy's."""

import numpy as np
import pytest
from ase import Atoms
from quip_fits import SPECIES, gap_fit, quip_results, small_cell, training_frames

from soapgap.potential import Potential
from soapgap.quip import read_quip, write_quip
from soapgap.reduction.model import reduce_model

SOAP = ("soap cutoff=3.7 cutoff_transition_width=0.8 l_max=3 n_max=4 atom_sigma=0.5 covariance_type=dot_product delta=0.4 "
        "n_sparse=12 sparse_method=random add_species=T ")
PAIR = ("distance_2b cutoff=3.9 cutoff_transition_width=1.0 covariance_type=ard_se delta=0.5 theta_uniform=0.9 n_sparse=8 "
        "sparse_method=uniform add_species=T ")
NB = ("distance_Nb cutoff=3.2 cutoff_transition_width=0.9 delta=0.3 n_sparse=15 sparse_method=random add_species=T ")
TURBO = ("soap_turbo l_max=3 alpha_max={{4 4 4}} atom_sigma_r={{0.5 0.5 0.5}} atom_sigma_t={{0.5 0.5 0.5}} "
         "atom_sigma_r_scaling={{0.05 0.05 0.05}} atom_sigma_t_scaling={{0.05 0.05 0.05}} amplitude_scaling={{1.0 1.0 1.0}} "
         "central_weight={{1.0 1.0 1.0}} radial_enhancement=1 rcut_hard=3.7 rcut_soft=3.2 basis=poly3gauss "
         "scaling_mode=polynomial n_species=3 species_Z={{14 8 22}} covariance_type=dot_product zeta=4 delta=0.4 n_sparse=10 "
         "sparse_method=random add_species=F ")
MODELS = {
    "soap": SOAP + "zeta=4",
    "soap, not whole zeta": SOAP + "zeta=2.5",
    "soap, sigma0": SOAP + "zeta=2 covariance_sigma0=0.3",
    "soap, sigma0, zeta 1": SOAP + "zeta=1 covariance_sigma0=0.2",
    "soap, not normalised": SOAP + "zeta=2 normalise=F",
    "soap, decay": SOAP + "zeta=4 cutoff_dexp=2 cutoff_scale=1.5 cutoff_rate=1.0",
    "soap, decay without rate": SOAP + "zeta=3 cutoff_dexp=1 cutoff_scale=1.5 cutoff_rate=0.0",
    "soap, central weight": SOAP + "zeta=4 central_weight=0.5 central_reference_all_species=T",
    "soap, GTO": SOAP + "zeta=4 radial_basis=GTO",
    "soap, averaged": SOAP.replace("add_species=T", "add_species=F")
    + "zeta=2 n_species=3 species_Z={{14 8 22}} n_Z=1 Z={{0}} average=T normalise=F",
    "soap, averaged over some": SOAP.replace("add_species=T", "add_species=F")
    + "zeta=3 n_species=3 species_Z={{14 8 22}} n_Z=2 Z={{14 8}} average=T",
    "soap, POLY": SOAP + "zeta=4 radial_basis=POLY",
    "soap, diagonal": SOAP + "zeta=4 diagonal_radial=T",
    "soap, wildcard": SOAP.replace("add_species=T", "add_species=F") + "zeta=4 n_species=1 species_Z={{0}} Z=0",
    "soap, some centres": SOAP.replace("add_species=T", "add_species=F")
    + "zeta=4 n_species=3 species_Z={{22 8 14}} n_Z=2 Z={{14 22}}",
    "soap, nu_R=1": SOAP + "zeta=4 nu_R=1",
    "soap, nu_S=0": SOAP + "zeta=4 nu_S=0",
    "soap, nu_R=1 nu_S=1": SOAP + "zeta=4 nu_R=1 nu_S=1",
    "soap, Z_map": SOAP + "zeta=4 Z_map={{8, 14 22}}",
    "soap, two Z_maps": SOAP + "zeta=4 Z_map={{8, 14 22 : 8 14 22}}",
    "soap, mixing": SOAP + "zeta=4 R_mix=T Z_mix=T K=5 sym_mix=T",
    "soap, mixing of Z, elementwise": SOAP + "zeta=4 Z_mix=T K=3 coupling=F",
    "2b": PAIR,
    "2b, exponents": PAIR.replace("theta_uniform=0.9", "theta_fac=0.8").replace("uniform ", "random ")
    + "n_exponents=2 exponents={{-1 -3}}",
    "2b, tail": PAIR + "tail_exponent=1 tail_range=0.7",
    "2b, pp": PAIR.replace("ard_se", "pp").replace("theta_uniform=0.9", "theta_uniform=1.7"),
    "3b": "angle_3b cutoff=3.2 cutoff_transition_width=0.9 covariance_type=ard_se delta=0.3 theta_fac=0.6 n_sparse=15 "
          "sparse_method=random add_species=T",
    "3b, pp": "angle_3b cutoff=3.2 cutoff_transition_width=0.9 covariance_type=pp delta=0.3 theta_fac=2.0 n_sparse=15 "
              "sparse_method=random add_species=T",
    "Nb 2": NB + "order=2 covariance_type=ard_se theta_uniform=1.0 f0=0.1",
    "Nb 2, connected": NB + "order=2 covariance_type=ard_se theta_uniform=1.0 compact_clusters=F",
    "Nb 3, connected": NB + "order=3 covariance_type=ard_se theta_uniform=1.1 compact_clusters=F",
    "Nb 3, connected, pp": NB + "order=3 covariance_type=pp theta_uniform=2.5 compact_clusters=F f0=0.1",
    "Nb 3, compact": NB + "order=3 covariance_type=ard_se theta_uniform=1.1",
    "soap_turbo": " : ".join(TURBO + f"central_index={k}" for k in (1, 2, 3)),
    "soap_turbo, trivial": " : ".join(TURBO + f"compress_mode=trivial central_index={k}" for k in (1, 2, 3)),
    "soap_turbo, contracted": " : ".join(TURBO + f"compress_mode=1_1 central_index={k}" for k in (1, 2, 3)),
    "all kinds": f"{SOAP} zeta=4 : {PAIR} : {NB} order=3 covariance_type=ard_se theta_uniform=1.1 compact_clusters=F",
}
#: Forces that differ from QUIP's although energies do not: those of its soap_turbo are not the derivative of its energies.
TURBO_FORCES = 1e-6


def structures():
    return [*training_frames()[:1], small_cell(101), small_cell(102, n_atoms=12), small_cell(103),
            Atoms("SiOTi", [[0, 0, 0], [0, 0, 1.9], [1.7, 0.4, 0.6]], cell=[20.0] * 3, pbc=True)]


def floor(model):
    """What cancellation of large weights leaves of double precision, eV: 20 eps sum |alpha F k|."""
    sums = []
    for term in model.terms:
        if term.cancellation is not None:
            largest = 1.0
            if getattr(term, "channels", None) is not None:
                largest = (1.0 + term.channels.kernel_offset) ** term.zeta
            if not getattr(term, "normalise", True):
                largest = np.linalg.norm(term.sparse_points, axis=1).max() ** (2 * term.zeta)
            sums.append(term.cancellation * largest)
        elif "weights" in term.sparse:
            sums.append(np.abs(term.sparse["weights"]).sum() * term.origin["quip"]["delta"] ** 2)
    return 20.0 * np.finfo(float).eps * max(sums, default=0.0)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Path of the model of a form, fitted once."""
    made = {}

    def get(name):
        if name not in made:
            folder = tmp_path_factory.mktemp("quip")
            made[name] = gap_fit(folder, MODELS[name], name=f"m{list(MODELS).index(name)}")
        return made[name]

    return get


def compare(model, xml, bound=None, init_args=""):
    potential, bound = Potential(model, 1), bound or {}
    tolerance = floor(model)
    for atoms, reference in zip(structures(), quip_results(xml, structures(), init_args), strict=True):
        result = potential.compute(atoms)
        ours = (result.energy, result.forces, result.virial, result.energies)
        for what, got, expected in zip(("energy", "forces", "virial", "energies"), ours, reference, strict=True):
            scale = len(atoms) * max(1e-2, np.abs(expected).max())
            allowed = max(bound.get(what, 1e-8) * scale / len(atoms), tolerance * len(atoms))
            np.testing.assert_allclose(got, expected, rtol=0.0, atol=allowed, err_msg=what)


@pytest.mark.parametrize("name", MODELS)
def test_energies_forces_virials_and_local_energies_are_quip_s(fitted, name):
    xml = fitted(name)
    bound = {"forces": TURBO_FORCES, "virial": TURBO_FORCES} if "turbo" in name else {}
    model = read_quip(xml)
    assert model.terms
    compare(model, xml, bound)


def test_forces_of_soap_turbo_are_the_derivative_of_quip_s_energies(fitted):
    """QUIP's own are not: its radial integrals and their derivatives do not belong together."""
    xml, atoms, rng = fitted("soap_turbo"), small_cell(105), np.random.default_rng(5)  # no neighbour at a jump of R_nl
    direction, h = rng.normal(size=atoms.positions.shape), 1e-3
    moved = []
    for k in (-3, -2, -1, 1, 2, 3):
        moved.append(atoms.copy())
        moved[-1].positions += k * h * direction
    e = [result[0] for result in quip_results(xml, moved)]
    slope = (-e[0] + 9 * e[1] - 45 * e[2] + 45 * e[3] - 9 * e[4] + e[5]) / (60 * h)
    ours = -(Potential(read_quip(xml), 1).compute(atoms).forces * direction).sum()
    theirs = -(quip_results(xml, [atoms])[0][1] * direction).sum()
    assert abs(ours - slope) < 1e-9
    assert abs(theirs - slope) > 1e-8


@pytest.mark.parametrize("name", MODELS)
def test_import_export_import_is_the_identity(fitted, name, tmp_path):
    model = read_quip(fitted(name))
    write_quip(model, tmp_path / "again.xml")
    assert read_quip(tmp_path / "again.xml").checksum == model.checksum


@pytest.mark.parametrize("name", ["soap", "all kinds", "soap, nu_R=1 nu_S=1", "Nb 3, compact"])
def test_exported_models_are_the_same_in_quip(fitted, name, tmp_path):
    """From the model file: what soapgap stores is all that QUIP needs."""
    model = read_quip(fitted(name))
    write_quip(model, tmp_path / f"out{list(MODELS).index(name)}.xml")
    for ours, theirs in zip(quip_results(tmp_path / f"out{list(MODELS).index(name)}.xml", structures()),
                            quip_results(fitted(name), structures()), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=0.0, atol=1e-9 * max(1.0, np.abs(b).max()))


@pytest.mark.parametrize("name", ["soap", "soap, sigma0", "soap, mixing", "soap, nu_R=1 nu_S=1", "soap, wildcard", "soap_turbo",
                                  "soap, not normalised", "soap, sigma0, zeta 1"])
def test_reductions_of_imported_models_keep_forces(fitted, name):
    model = read_quip(fitted(name))
    exact, reduced = Potential(model, 1), Potential(reduce_model(model), 1)
    for atoms in structures():
        a, b = exact.compute(atoms), reduced.compute(atoms)
        np.testing.assert_allclose(b.forces, a.forces, rtol=0.0, atol=max(1e-9, floor(model)))


@pytest.mark.parametrize("name", ["3b", "Nb 3, connected", "Nb 3, compact"])
def test_splines_of_triplets_keep_forces(fitted, name):
    model = read_quip(fitted(name))
    tabulated = reduce_model(model)
    assert all(term.grid is not None for term in tabulated.terms)
    exact, quick = Potential(model, 1), Potential(tabulated, 1)
    for atoms in structures():
        a, b = exact.compute(atoms), quick.compute(atoms)
        difference = np.abs(a.forces - b.forces).max()
        assert difference < 1e-5
    assert difference > 0.0


def test_species_of_a_model_that_takes_any(fitted):
    from soapgap.errors import InputError

    model = read_quip(fitted("soap, wildcard"))
    assert model.species == ["O", "Si", "Ti"]  # those with an e0
    assert read_quip(fitted("soap, wildcard"), species=["Ti", "Si", "O", "H"]).species == ["H", "O", "Si", "Ti"]
    with pytest.raises(InputError, match="names O"):
        read_quip(fitted("soap, wildcard"), species=["Si"])
    with pytest.raises(InputError, match="does not contain H"):
        read_quip(fitted("soap"), species=[*SPECIES, "H"])
