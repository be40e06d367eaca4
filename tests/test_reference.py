"""The slow reference, on the radial bases of soapgap, against QUIP's published numbers, quippy and featomic."""

import math

import numpy as np
import pytest
import reference as ref

from soapgap.radial.bases import equispaced_basis, gto_basis

POSITIONS = np.array([[0.0, 0.0, 0.0], [2.3, 0.1, -0.2], [0.4, 2.5, 0.7]])
BOX = 20.0 * np.eye(3)


def test_quip_vector_t1():
    basis = equispaced_basis(3, 2, 4.0, 0.5, 0.5)
    environment = ref.environments(["Si"] * 3, POSITIONS, BOX, [True] * 3, 4.0)[0]
    p = ref.features(environment, ref.exact_radial(basis), ["Si"], 3, 2, [basis.centre], normalise=False)
    expected = [
        4.428931409605964e-03, 2.326707968985861e-08, 1.185328673153345e-08, 2.442692205653407e-03,
        5.409314784443935e-06, 2.755745880929814e-06, 6.736100268586862e-04, 6.288001508405366e-04,
        3.203388027414743e-04, 5.549037842022134e-09, 1.076906781884642e-11, 3.080904830324929e-12,
        2.164075861477857e-09, 1.770368019877003e-09, 5.064821246110133e-10, 3.476213348597914e-15,
        7.383914173376218e-14, 1.473515962811287e-13, 0]
    np.testing.assert_allclose(ref.to_quip_order(p, 3, 2), expected, rtol=0, atol=2e-17)
    assert np.linalg.norm(p) == pytest.approx(5.15111371885927e-03, rel=1e-14)
    np.testing.assert_allclose(basis.radii, [0, 2.464356737402519, 4.928713474805037], rtol=1e-15)
    assert basis.centre[0] * math.sqrt(4 * math.pi) == pytest.approx(2.353490659441787e-1, rel=1e-14)


def test_quip_vector_t2_and_its_gradient():
    basis = equispaced_basis(2, 1, 4.0, 0.5, 0.5)

    def x(positions):
        environment = ref.environments(["O", "Ti", "O"], positions, BOX, [True] * 3, 4.0)[0]
        centre = [basis.centre, np.zeros(2)]
        return ref.to_quip_order(ref.features(environment, ref.exact_radial(basis), ["O", "Ti"], 2, 1, centre), 4, 1)

    expected = [
        9.996022461372631e-01, 1.216013291840844e-14, 2.740827768344446e-02, 3.876051325169183e-09,
        3.757563013066920e-04, 6.177471075419848e-04, 3.254376317724576e-05, 7.004027966417861e-16,
        6.309679434958986e-07, 1.578643518220421e-10, 5.297589745467737e-10, 7.005567527136278e-16,
        6.602467205985245e-03, 1.578643518220421e-10, 1.280105540428836e-04, 3.558117371273027e-05,
        1.519958752269938e-07, 2.233029809732768e-10, 2.180495960996699e-05, 3.558899483760669e-05, 0]
    np.testing.assert_allclose(x(POSITIONS), expected, rtol=0, atol=1e-15)
    gradient = ref.difference(lambda r: x(np.vstack([POSITIONS[:1], r, POSITIONS[2:]]))[0], POSITIONS[1:2], 1e-3)
    expected = [-2.217232184363271e-04, -9.643190205719202e-06, 1.927937706848355e-05]
    np.testing.assert_allclose(gradient[0], expected, rtol=0, atol=1e-12)


TRICLINIC = np.array([[3.1, 0.2, 0.1], [0.9, 3.4, -0.3], [-0.5, 0.7, 2.9]])


@pytest.mark.parametrize("symbols", ["SiSi", "OTi"])
@pytest.mark.parametrize(("n_max", "l_max", "cutoff", "sigma", "width"), [
    (3, 2, 4.0, 0.5, 0.5), (10, 12, 5.0, 0.5, 0.5), (6, 6, 4.5, 0.3, 1.0), (8, 4, 4.0, 1.0, 0.7)])
def test_reference_against_quippy(symbols, n_max, l_max, cutoff, sigma, width):
    descriptors = pytest.importorskip("quippy.descriptors")
    ase = pytest.importorskip("ase")
    basis = equispaced_basis(n_max, l_max, cutoff, sigma, width)
    positions = np.random.default_rng(4).random((2, 3)) @ TRICLINIC
    atoms = ase.Atoms(symbols, positions, cell=TRICLINIC, pbc=True)
    names = list(dict.fromkeys(atoms.symbols))
    numbers = list(dict.fromkeys(atoms.numbers.tolist()))
    near = ref.environments(list(atoms.symbols), positions, TRICLINIC, [True] * 3, cutoff)
    assert min(map(len, near)) >= 10
    for index, symbol in enumerate(names):
        descriptor = descriptors.Descriptor(
            f"soap cutoff={cutoff} cutoff_transition_width={width} l_max={l_max} n_max={n_max} atom_sigma={sigma} "
            f"n_species={len(names)} species_Z={{{' '.join(map(str, numbers))}}} Z={numbers[index]}")
        expected = descriptor.calc(atoms)["data"]
        centre = np.zeros((len(names), n_max))
        centre[index] = basis.centre
        rows = [i for i, other in enumerate(atoms.symbols) if other == symbol]
        assert len(expected) == len(rows)
        for row, i in zip(expected, rows):
            x = ref.features(near[i], ref.exact_radial(basis), names, n_max, l_max, centre)
            # 1e-15 but for l >= 9 at short distances, where QUIP's upward recurrence of i_l loses a digit or two
            np.testing.assert_allclose(ref.to_quip_order(x, len(names) * n_max, l_max), row, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("n_max", "l_max", "cutoff", "sigma", "weight"), [
    (4, 3, 4.0, 0.5, 1.0), (6, 8, 5.0, 0.3, 0.4), (8, 6, 4.5, 0.5, 1.0)])
def test_reference_against_featomic(n_max, l_max, cutoff, sigma, weight):
    """featomic's p is (-1)^l times ours; n1 n2 in full (no sqrt 2) for one species, sqrt 2 times one half for two.

    It orthonormalises in double precision: at n_max = 8 that leaves 6e-12 of the largest coefficient, at 12 2e-10.
    """
    featomic = pytest.importorskip("featomic")
    ase = pytest.importorskip("ase")
    basis = gto_basis(n_max, l_max, cutoff, sigma, 0.5, weight)
    positions = np.random.default_rng(6).random((3, 3)) @ TRICLINIC
    atoms = ase.Atoms("OTiO", positions, cell=TRICLINIC, pbc=True)
    spectrum = featomic.SoapPowerSpectrum(
        cutoff={"radius": cutoff, "smoothing": {"type": "ShiftedCosine", "width": 0.5}},
        density={"type": "Gaussian", "width": sigma, "center_atom_weight": weight},
        basis={"type": "TensorProduct", "max_angular": l_max, "spline_accuracy": None,
               "radial": {"type": "Gto", "max_radial": n_max - 1}}).compute(atoms)
    near = ref.environments(list(atoms.symbols), positions, TRICLINIC, [True] * 3, cutoff)
    names, numbers = ["O", "Ti"], [8, 22]
    for i, symbol in enumerate(atoms.symbols):
        centre = np.zeros((2, n_max))
        centre[names.index(symbol)] = basis.centre
        p = ref.features(near[i], ref.exact_radial(basis), names, n_max, l_max, centre, normalise=False)
        full = np.zeros((l_max + 1, 2 * n_max, 2 * n_max))
        lower = np.tril_indices(2 * n_max)
        full[:, lower[0], lower[1]] = p.reshape(l_max + 1, -1)
        for first, second in ((0, 0), (0, 1), (1, 1)):
            block = spectrum.block(center_type=numbers[names.index(symbol)], neighbor_1_type=numbers[first],
                                   neighbor_2_type=numbers[second])
            row = block.samples.position([0, i])
            for (l, n1, n2), value in zip(block.properties.values, block.values[row]):
                one, two = second * n_max + n2, first * n_max + n1
                ours = (-1) ** l * full[l, max(one, two), min(one, two)]
                if first == second and n1 != n2:
                    ours /= math.sqrt(2)
                assert abs(ours - value) < 1e-10 * np.abs(p).max(), (i, l, n1, n2)
