"""The expansion of QUIP's soap_turbo descriptors, against published test vectors of QUIP and against quippy itself."""

import json
import math
import re
import sys

import numpy as np
import pytest
from programs import run_program
from scipy.special import sph_harm_y

from soapgap.errors import InputError
from soapgap.quip.turbo import turbo_soap
from soapgap.radial.table import radial_table

T6 = "rcut_hard=4.0 rcut_soft=3.5 l_max=1 alpha_max={2} atom_sigma_r={0.5} atom_sigma_t={0.6} n_species=1 species_Z={14} " \
     "radial_enhancement=1"
T6_POSITIONS = np.array([[0, 0, 0], [2.3, 0.1, -0.2], [0.4, 2.5, 0.7]])
T6_VECTOR = [0.302220207950382, 0.012746162000417, 0.649362551353407, -0.011224985744435, 0.697623309109489, 0.00494736724367]

USUAL = "rcut_hard=5.0 rcut_soft=4.5 l_max=8 atom_sigma_r={0.5} atom_sigma_t={0.5} species_Z={14} central_index=1 "
THREE = "rcut_hard=5.0 rcut_soft=4.3 l_max=6 alpha_max={5 3 4} atom_sigma_r={0.5 0.4 0.3} atom_sigma_t={0.5 0.6 0.35} " \
        "atom_sigma_r_scaling={0.1 0 0.05} atom_sigma_t_scaling={0.1 0.05 0} amplitude_scaling={1.0 2.0 0.5} " \
        "central_weight={1.0 0.7 0.4} n_species=3 species_Z={1 8 6} central_index=2 "
TWO = "rcut_hard=5.0 rcut_soft=4.0 l_max=6 alpha_max={4 4} atom_sigma_r={0.5 0.3} atom_sigma_t={0.5 0.6} n_species=2 " \
      "species_Z={1 8} central_index=2 radial_enhancement=1 "

#: Descriptor, and the largest difference from QUIP; both compute W with the LAPACK they have, see the module.
VARIANTS = {
    "T6": (T6, 1e-14),
    "poly3, 4": (USUAL + "basis=poly3 alpha_max={4}", 1e-11),
    "poly3, 5": (USUAL + "basis=poly3 alpha_max={5}", 1e-10),
    "poly3, 8": (USUAL + "basis=poly3 alpha_max={8}", 1e-6),
    "poly3gauss, 2": (USUAL + "basis=poly3gauss alpha_max={2}", 1e-14),
    "poly3gauss, 5": (USUAL + "basis=poly3gauss alpha_max={5}", 1e-11),
    "poly3gauss, 8": (USUAL + "basis=poly3gauss alpha_max={8}", 3e-8),
    "poly3gauss, wide": ("rcut_hard=4.0 rcut_soft=3.0 l_max=6 alpha_max=4 atom_sigma_r=1.0 atom_sigma_t=0.9 species_Z=14 "
                         "basis=poly3gauss", 1e-10),
    "poly3gauss, narrow": ("cutoff=6.0 l_max=10 n_max=5 atom_sigma=0.2 species_Z=14 basis=poly3gauss", 1e-10),
    "central_weight ignored": (T6 + " central_weight={0.3}", 1e-14),
    **{f"{basis}, 3 species, enhancement {k}": (THREE + f"basis={basis} radial_enhancement={k}", 1e-10)
       for basis in ("poly3", "poly3gauss") for k in (0, 1, 2)},
    **{f"{basis}, 2 species, nf 3": (
        TWO + f"basis={basis} nf=3 amplitude_scaling={{0.0 0.3}} central_weight={{0.0 0.7}}", 1e-11)
       for basis in ("poly3", "poly3gauss")},
    **{f"{basis}, trivial": (TWO.replace("{4 4}", "{4 3}") + f"basis={basis} compress_mode=trivial", 1e-11)
       for basis in ("poly3", "poly3gauss")},
}

ORACLE = """
import json, multiprocessing, sys
import ase
from quippy.descriptors import Descriptor

def vector(job):
    atoms = ase.Atoms(job["numbers"], positions=job["positions"], cell=[40.0] * 3, pbc=True)
    return Descriptor("soap_turbo " + job["descriptor"]).calc(atoms)["data"][0].tolist()

if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        print("RESULT" + json.dumps(pool.map(vector, json.load(sys.stdin), chunksize=1)))
"""


def split(descriptor):
    """key=value and key={value ...} to a dict."""
    return {key: inside or word for key, inside, word in re.findall(r"(\w+)=(?:\{([^}]*)\}|(\S+))", descriptor)}


def made(descriptor, **changes):
    return turbo_soap({**split(descriptor), **changes})


def cluster(soap):
    """Nine atoms; the first is of the central species. Distances on both sides of every switch, none on one."""
    rng = np.random.default_rng(5)
    directions = rng.normal(size=(8, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    distances = np.array([1.1, 1.9, 2.499, 2.501, 3.3, 3.8, 4.4, 4.7]) * soap.cutoff / 5.0
    positions = np.concatenate([np.zeros((1, 3)), directions * distances[:, None]])
    numbers = np.array(soap.species_z)[np.arange(9) % len(soap.species_z)]
    numbers[0] = soap.species_z[soap.central_index]
    return numbers, positions


def harmonics(l_max, directions):
    """Real spherical harmonics, one array (2l + 1, n) per l."""
    polar, azimuth = np.arccos(np.clip(directions[:, 2], -1, 1)), np.arctan2(directions[:, 1], directions[:, 0])
    out = []
    for l in range(l_max + 1):
        m = np.arange(-l, l + 1)[:, None]
        y = sph_harm_y(l, np.abs(m), polar, azimuth)
        out.append(np.where(m < 0, math.sqrt(2) * y.imag, np.where(m > 0, math.sqrt(2) * y.real, y.real)))
    return out


def power_spectrum(soap, numbers, positions):
    """The descriptor of the first atom."""
    r = np.linalg.norm(positions, axis=1)
    coefficients = [np.zeros((len(soap.species_z) * soap.n_max, 2 * l + 1)) for l in range(soap.l_max + 1)]
    for species, z in enumerate(soap.species_z):
        near = np.flatnonzero((numbers == z) & (r > 0))
        radial = soap.radial(species, r[near])[0].reshape(-1, soap.l_max + 1, soap.n_max)
        for l, y in enumerate(harmonics(soap.l_max, positions[near] / r[near, None])):
            coefficients[l][species * soap.n_max:(species + 1) * soap.n_max] += np.einsum("jn,mj->nm", radial[:, l], y)
    centre = soap.central_index * soap.n_max
    coefficients[0][centre:centre + soap.n_max, 0] += soap.centre
    p = np.array([factor * (x[i] @ x[j]) for (i, j), factor in zip(soap.pairs, soap.pair_factors) for x in coefficients])
    return p / np.linalg.norm(p)


@pytest.fixture(scope="module")
def oracle():
    """QUIP's vectors of all variants; each in a fresh process, since QUIP may reuse the W of another descriptor."""
    pytest.importorskip("quippy")
    jobs = []
    for descriptor, _ in VARIANTS.values():
        numbers, positions = cluster(made(descriptor))
        jobs.append({"descriptor": descriptor, "numbers": numbers.tolist(), "positions": positions.tolist()})
    run = run_program([sys.executable, "-c", ORACLE], text=json.dumps(jobs))
    assert run.status == 0, run.stderr
    return dict(zip(VARIANTS, json.loads(run.stdout.split("RESULT")[1])))


# ---- values -------------------------------------------------------------------------------------------------------

def test_published_vector():
    x = power_spectrum(made(T6), np.array([14, 14, 14]), T6_POSITIONS)
    np.testing.assert_allclose(x, T6_VECTOR, rtol=0, atol=3e-15)


@pytest.mark.parametrize("name", VARIANTS)
def test_vectors_are_quips(oracle, name):
    descriptor, tolerance = VARIANTS[name]
    soap = made(descriptor)
    x = power_spectrum(soap, *cluster(soap))
    assert x.shape == np.shape(oracle[name])
    np.testing.assert_allclose(x, oracle[name], rtol=0, atol=tolerance)


# ---- derivatives, ends and switches -------------------------------------------------------------------------------

SMOOTH = {"usual": USUAL + "basis=poly3gauss alpha_max={8}", "three": THREE + "basis=poly3gauss radial_enhancement=2",
          "poly3": THREE + "basis=poly3 radial_enhancement=1", "two": TWO + "basis=poly3 amplitude_scaling={0 2.3}"}


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives_by_finite_differences(name):
    soap = made(SMOOTH[name])
    for species in range(len(soap.species_z)):
        breaks = soap.breaks(species)
        for lo, hi in zip(breaks, breaks[1:]):
            h = 1e-3 * min(1.0, hi - lo)
            if h < 1e-6:  # rounding of r
                continue
            r = np.linspace(lo + 2 * h, hi - 2 * h, 40)
            f = [soap.radial_piece(species, r + k * h, lo, hi) for k in (-2, -1, 0, 1, 2)]
            difference = (8 * (f[3] - f[1]) - (f[4] - f[0])) / (12 * h)
            for order in (0, 1):
                exact = f[2][order + 1]
                np.testing.assert_allclose(difference[order], exact, rtol=0, atol=2e-8 * np.abs(exact).max())


@pytest.mark.parametrize("name", SMOOTH)
def test_table_reaches_its_bounds(name):
    soap = made(SMOOTH[name])
    for species in range(len(soap.species_z)):
        def piece(r, lo, hi, species=species):
            return soap.radial_piece(species, r, lo, hi)

        scale = np.abs(soap.radial(species, np.linspace(1, soap.cutoff, 200))[0]).max()
        table = radial_table(piece, soap.breaks(species), scale=scale)
        assert sum(n for _, _, n in table.segments) < 2000
        r = np.random.default_rng(1).uniform(0, soap.cutoff + 0.5, 300)
        value, slope = table.evaluate(r)
        exact = soap.radial(species, r)
        np.testing.assert_allclose(value, exact[0], rtol=0, atol=1e-11 * scale)
        np.testing.assert_allclose(slope, exact[1], rtol=0, atol=1e-9 * scale)


def test_origin():
    soap = made(THREE + "basis=poly3")
    r = soap.radial(0, [0.0, 1e-4])
    functions = r.reshape(3, 2, soap.l_max + 1, soap.n_max)
    assert np.isfinite(r).all()
    assert not functions[0, 0, 1:].any()
    soap = made(USUAL + "basis=poly3 alpha_max={4}")
    functions = soap.radial(0, [0.0]).reshape(3, soap.l_max + 1, soap.n_max)
    assert not functions[:2, 1:].any()  # R_nl goes as r^2l
    assert not functions[2, 2:].any()
    assert functions[2, 1].any()


def test_cutoff():
    soap = made(USUAL + "basis=poly3 alpha_max={4}")
    end = soap.breaks(0)[-2]
    assert soap.cutoff - 1e-4 < end < soap.cutoff
    assert not soap.radial(0, [end, soap.cutoff, soap.cutoff + 1]).any()
    before = np.abs(soap.radial(0, [end - 1e-9])).max(axis=(1, 2))
    assert 0 < before[0] < 1e-8
    assert before[1] < 1e-3
    constant = made(USUAL + "basis=poly3 alpha_max={4} amplitude_scaling=0")
    assert constant.breaks(0)[-2] == pytest.approx(2.5)
    assert np.abs(constant.radial(0, [soap.cutoff - 1e-9])[0]).max() > 1
    assert not constant.radial(0, [soap.cutoff]).any()


def test_breaks_are_the_switches():
    soap = made(USUAL + "basis=poly3gauss alpha_max={5}")
    breaks = soap.breaks(0)
    np.testing.assert_allclose(breaks[:3], [0, 4.5 - 4 * 0.5, 8 * 0.5], rtol=1e-14)
    for k in (1, 2):
        inner, outer = (soap.radial_piece(0, [breaks[k]], *breaks[i:i + 2])[0] for i in (k - 1, k))
        jump = np.abs(inner - outer).max() / np.abs(inner).max()
        assert 1e-7 < jump < 1e-4
    scaled = made(USUAL + "basis=poly3gauss alpha_max={5} atom_sigma_r_scaling=0.1")
    np.testing.assert_allclose(scaled.breaks(0)[1], (4.5 - 2.0) / 1.4, rtol=1e-14)
    assert len(scaled.breaks(0)) == 4  # 4.0 / 0.6 is beyond the cutoff
    left, right = soap.radial(0, [4.5 - 1e-9, 4.5 + 1e-9]).transpose(1, 0, 2)
    np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-6)


# ---- bookkeeping --------------------------------------------------------------------------------------------------

def test_centre():
    poly3 = made(THREE + "basis=poly3")
    radial = poly3.radial(1, [0.0])[0, 0, :poly3.n_max]
    np.testing.assert_allclose(poly3.centre, 0.7 / math.sqrt(4 * math.pi) * radial, rtol=1e-14)
    assert not poly3.centre[3:].any()
    assert not made(THREE + "basis=poly3gauss", central_weight="0").centre.any()


def test_channels_and_pairs():
    soap = made(THREE + "basis=poly3", alpha_max="3 1 2")
    assert (soap.n_max, soap.l_max, soap.cutoff, soap.central_index) == (3, 6, 5.0, 1)
    assert (soap.species_z, soap.alpha_max) == ((1, 8, 6), (3, 1, 2))
    channels = [0, 1, 2, 3, 6, 7]
    expected = [(i, j) for i in channels for j in channels if i <= j]
    assert [tuple(pair) for pair in soap.pairs] == expected
    assert list(soap.pair_factors) == [1.0 if i == j else math.sqrt(2) for i, j in expected]
    trivial = made(THREE + "basis=poly3", alpha_max="3 1 2", compress_mode="trivial")
    assert [tuple(pair) for pair in trivial.pairs] == [p for p in expected if {0, 3, 6} & set(p)]
    assert not soap.radial(1, [1.0, 2.0]).reshape(3, 2, 7, 3)[..., 1:].any()
    assert soap.radial(1, [1.0, 2.0]).reshape(3, 2, 7, 3)[..., 0].all()


def test_alternative_keys_and_defaults():
    plain = made("rcut_hard=5.0 rcut_soft=4.5 l_max=3 alpha_max=4 atom_sigma_r=0.4 atom_sigma_t=0.4 n_species=1 species_Z=6 "
                 "nf=4.0 basis=poly3 scaling_mode=polynomial radial_enhancement=0 atom_sigma_r_scaling=0.1 "
                 "atom_sigma_t_scaling=0.1 amplitude_scaling=1 compress_mode=none delta=3 n_sparse=100")
    short = made("cutoff=5.0 l_max=3 n_max=4 atom_sigma=0.4 species_Z=6 atom_sigma_scaling=0.1")
    both = made("rcut_hard=5.0 cutoff=9.0 l_max=3 alpha_max=4 n_max=7 atom_sigma=0.4 species_Z=6 atom_sigma_scaling=0.1")
    r = np.linspace(0, 5, 30)
    for other in (short, both):
        np.testing.assert_array_equal(plain.radial(0, r), other.radial(0, r))
        np.testing.assert_array_equal(plain.centre, other.centre)
    two = dict(n_species="2", species_Z="6 1")
    np.testing.assert_array_equal(made("cutoff=5.0 l_max=3 n_max=4 atom_sigma=0.4", **two).radial(1, r),
                                  made("cutoff=5.0 l_max=3", n_max="4 4", atom_sigma="0.4 0.4", **two).radial(1, r))


def test_ignored_central_weight_is_reported():
    assert made(T6).warnings == made(T6, central_weight="1.0").warnings == ()
    warning, = made(T6, central_weight="0.3").warnings
    assert "central_weight = 0.3 is ignored" in warning
    np.testing.assert_array_equal(made(T6, central_weight="0.3").centre, made(T6).centre)


def test_contraction_is_left_to_the_caller():
    soap = made(TWO, compress_mode="1_2")
    assert soap.contraction == (1, 2)
    np.testing.assert_array_equal(soap.pairs, made(TWO).pairs)
    assert made(TWO).contraction is made(TWO, compress_mode="trivial").contraction is None


@pytest.mark.parametrize(("changes", "message"), [
    (dict(basis="poly3operator"), "basis is 'poly3operator', expected poly3 or poly3gauss"),
    (dict(compress_file="compress.dat"), "compress_file = compress.dat, which is not supported"),
    (dict(compress_mode="3_0"), "compress_mode is '3_0'"),
    (dict(compress_mode="1_1", alpha_max="4 3"), "alpha_max is 4 3 with compress_mode = 1_1"),
    (dict(scaling_mode="linear"), "scaling_mode is 'linear'"),
    (dict(radial_enhancement="3"), "radial_enhancement is '3', expected 1 whole number.* from 0 to 2"),
    (dict(rcut_soft="5.0"), "rcut_soft is 5 and rcut_hard 5"),
    (dict(central_index="3"), "central_index is '3', expected 1 whole number.* from 1 to 2"),
    (dict(alpha_max="4 4 4"), "alpha_max is '4 4 4', expected 2 whole number"),
    (dict(alpha_max="14"), "alpha_max = 14 radial functions is singular"),
    (dict(atom_sigma_r="0.5 0.0"), "atom_sigma_r is '0.5 0.0', expected 2 number.* above 0"),
    (dict(atom_sigma_t_scaling="-0.1"), "atom_sigma_t_scaling is '-0.1'"),
    (dict(nf="nan"), "nf is 'nan'"),
    (dict(l_max="many"), "l_max is 'many', expected 1 whole number"),
])
def test_refusals(changes, message):
    with pytest.raises(InputError, match=message):
        made(TWO, **changes)


@pytest.mark.parametrize("key", ["rcut_hard", "l_max", "species_Z", "alpha_max", "atom_sigma_r", "atom_sigma_t"])
def test_missing_parameters(key):
    parameters = split(TWO)
    del parameters[key]
    with pytest.raises(InputError, match=f"got no {key}"):
        turbo_soap(parameters)
