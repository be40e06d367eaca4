"""Reading data: quantities, signs, noise and atomic energies; every fault is one clear error."""

import hashlib

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from training_tools import E0, configuration, isolated, toy_frames, write_frames

from soapgap.config import read_config
from soapgap.config.data import DataConfig
from soapgap.data.dataset import read_dataset
from soapgap.data.environments import shortest_distances
from soapgap.data.noise import sigmas, unused_types
from soapgap.data.virials import as_tensor, as_voigt, check_signs
from soapgap.errors import InputError
from soapgap.learn.baseline.e0 import atom_energies

HEADER = 'Lattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3:forces:R:3 pbc="T T T"'
ATOMS = "Si 0 0 0 0.1 0.2 0.3\nSi 2 1 1 -0.1 -0.2 -0.3\n"


def read(tmp_path, text, **keys):
    """The data set of a file with this text."""
    path = tmp_path / "train.xyz"
    path.write_text(text)
    return read_dataset(["train.xyz"], DataConfig(train="train.xyz", **keys), tmp_path)


def frame(extra="energy=-3.0", atoms=ATOMS, header=HEADER):
    return f"{len(atoms.splitlines())}\n{header} {extra}\n{atoms}"


def test_quantities_and_their_places(tmp_path):
    tensor = np.array([[1.0, 0.1, 0.2], [0.1, 2.0, 0.3], [0.2, 0.3, 3.0]])
    nine = " ".join(map(str, tensor.ravel()))
    text = (
        frame(f'energy=-3.0 config_type=liquid virial="{nine}"')
        + frame(f'stress="{nine}"')
        + frame("energy=7", header=HEADER.replace(":forces:R:3", "").replace("pos:R:3", "pos:R:3:extra:R:3"))
    )
    data = read(tmp_path, text)
    first, second, third = data.structures
    assert (first.energy, first.config_type) == (-3.0, "liquid")
    np.testing.assert_array_equal(first.forces, [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]])
    np.testing.assert_array_equal(first.virial, tensor)
    assert (second.energy, second.config_type) == (None, "default")
    np.testing.assert_allclose(second.virial, -125.0 * tensor, rtol=1e-15)  # W = -V sigma
    assert (third.energy, third.forces, third.virial) == (7.0, None, None)
    assert first.atoms.calc is None
    assert not first.atoms.info
    assert data.counts() == {"frames": 3, "atoms": 6, "energies": 2, "force_components": 12, "virial_components": 12}
    assert data.sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_own_names(tmp_path):
    header = HEADER.replace(":forces:", ":dft_force:")
    data = read(tmp_path, frame('E=-1.5 w="1 2 3 4 5 6"', header=header), energy_key="E", forces_key="dft_force",
                virial_key="w", config_type_key="")
    structure = data.structures[0]
    assert structure.energy == -1.5
    assert structure.forces[1, 2] == -0.3
    np.testing.assert_array_equal(structure.virial, [[1, 6, 5], [6, 2, 4], [5, 4, 3]])
    unread = read(tmp_path, frame(), forces_key="").structures[0]
    assert unread.forces is None


def test_several_files_are_one_set(tmp_path):
    (tmp_path / "a.xyz").write_text(frame("energy=1.0"))
    (tmp_path / "b.xyz").write_text(frame("energy=2.0"))
    data = read_dataset(["a.xyz", "b.xyz"], DataConfig(train=["a.xyz", "b.xyz"]), tmp_path)
    assert [s.energy for s in data.structures] == [1.0, 2.0]
    assert data.structures[1].where.startswith("b.xyz, frame 0")
    assert data.sha256 == hashlib.sha256((frame("energy=1.0") + frame("energy=2.0")).encode()).hexdigest()


@pytest.mark.parametrize(
    ("text", "keys", "expected"),
    [
        ("", {}, ["train.xyz", "no structure"]),
        ("\n", {}, ["train.xyz", "no structure"]),
        ("5\nfoo\nSi 0 0 0\n", {}, ["frame 0", "extended XYZ", "1 atoms, expected 5"]),
        (frame() + "garbage\n", {}, ["train.xyz", "extended XYZ", "garbage"]),
        (frame() + frame("energy=nan"), {}, ["frame 1", "energy", "nan", "finite"]),
        (frame("energy=inf"), {}, ["frame 0", "energy", "inf", "finite"]),
        (frame("energy=low"), {}, ["frame 0", "energy", "'low'", "numbers"]),
        (frame(atoms=ATOMS.replace("-0.2", "nan")), {}, ["frame 0", "force", "atom 1", "nan"]),
        (frame(atoms=ATOMS.replace("2 1 1", "2 nan 1")), {}, ["frame 0", "position"]),
        (frame(atoms=ATOMS.replace("Si 2", "Qq 2")), {}, ["frame 0", "unknown chemical symbol", "Qq"]),
        (frame('energy=1.0 virial="1 2 3 4"'), {}, ["frame 0", "virial"]),
        (frame('energy=1.0 w="1 2 3 4"'), {"virial_key": "w"}, ["frame 0", "4 numbers", "9, or 6"]),
        (frame("Energy=1.0"), {}, ["data.energy_key", "'energy'", "names that exist: Energy"]),
        (frame(), {"forces_key": "force"}, ["data.forces_key", "'force'", "names that exist: forces"]),
        (frame(), {"virial_key": "virials"}, ["data.virial_key", "'virials'", "energy"]),
        (frame(), {"energy_key": "", "forces_key": ""}, ["nothing to learn"]),
        ('1\nProperties=species:S:1:pos:R:3 energy=1.0 stress="1 0 0 0 1 0 0 0 1"\nSi 0 0 0\n', {"forces_key": ""},
         ["frame 0", "stress", "no", "cell"]),
    ],
)
def test_faults(tmp_path, text, keys, expected):
    with pytest.raises(InputError) as caught:
        read(tmp_path, text, **keys)
    for part in expected:
        assert part in str(caught.value), str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the data file .*absent.xyz: No such file"):
        read_dataset(["absent.xyz"], DataConfig(train="absent.xyz"), tmp_path)


def test_virial_and_stress_must_agree(tmp_path):
    tensor = np.array([[1.0, 0.1, 0.2], [0.1, -2.0, 0.3], [0.2, 0.3, 3.0]])

    def text(virial, stress):
        numbers = [" ".join(map(str, tensor.ravel())) for tensor in (virial, stress)]
        return frame('energy=1.0 virial="{}" stress="{}"'.format(*numbers))

    good = read(tmp_path, text(tensor, -tensor / 125.0))
    np.testing.assert_array_equal(good.structures[0].virial, tensor)
    with pytest.raises(InputError, match=r"frame 0 .*contradict.*signs do not fit.*positive is tension") as caught:
        read(tmp_path, text(tensor, tensor / 125.0))
    assert 'data.stress_key = ""' in str(caught.value)
    assert read(tmp_path, text(tensor, tensor / 125.0), stress_key="").structures[0].virial[0, 0] == 1.0
    with pytest.raises(InputError, match="looks as if it were in GPa"):
        read(tmp_path, text(tensor, -tensor / 125.0 * 160.21766))
    with pytest.raises(InputError, match="in kbar and of the opposite sign"):
        read(tmp_path, text(tensor, tensor / 125.0 * 1602.1766))
    with pytest.raises(InputError, match=r"virial is 0\.5 times"):
        read(tmp_path, text(tensor, -tensor / 62.5))


def test_sign_check_forgives_rounding():
    tensor = np.diag([1.0, 2.0, 3.0])
    check_signs(tensor, 1.004 * tensor, 2, "virial", "stress", "here")
    with pytest.raises(InputError, match="component zz"):
        check_signs(tensor, np.diag([1.0, 2.0, 3.1]), 2, "virial", "stress", "here")


def test_voigt_order():
    tensor = as_tensor(np.arange(1.0, 7.0), "virial", "here")
    np.testing.assert_array_equal(tensor, [[1, 6, 5], [6, 2, 4], [5, 4, 3]])
    np.testing.assert_array_equal(as_voigt(tensor), np.arange(1.0, 7.0))


def test_ase_round_trip_of_the_sign(tmp_path):
    """The stress of an ASE calculator, written by ASE, is read as W = -V sigma of the toy potential."""
    atoms = toy_frames(1)[0]
    virial = atoms.info.pop("virial").reshape(3, 3)
    stress = -virial / atoms.get_volume()
    voigt = [stress[0, 0], stress[1, 1], stress[2, 2], stress[1, 2], stress[0, 2], stress[0, 1]]
    atoms.calc = SinglePointCalculator(atoms, stress=voigt, **atoms.calc.results)
    write(tmp_path / "train.xyz", atoms, format="extxyz")
    data = read_dataset(["train.xyz"], DataConfig(train="train.xyz"), tmp_path)
    np.testing.assert_allclose(data.structures[0].virial, virial, rtol=0, atol=1e-6)


# ---- noise (QUIP_SPEC 8.2) ----------------------------------------------------------------------------------------

def noise_of(tmp_path, extra, header=HEADER, atoms=ATOMS, **changes):
    data = read(tmp_path, frame(extra, atoms, header))
    config, _, _ = read_config(configuration(tmp_path, default_sigma=[0.1, 0.2, 0.3], **changes))
    return sigmas(data.structures[0], config)


def test_sigma_rules(tmp_path):
    virial = 'virial="1 0 0 0 1 0 0 0 1"'
    default = noise_of(tmp_path, f"energy=1.0 {virial}")
    assert default["energy"] == pytest.approx(0.1 * np.sqrt(2), rel=1e-15)
    np.testing.assert_array_equal(default["force"], 0.2)
    np.testing.assert_allclose(default["virial"], 0.3 * np.sqrt(2), rtol=1e-15)

    total = noise_of(tmp_path, f"energy=1.0 {virial}", sigma_per_atom=False)
    assert (total["energy"], total["virial"][5]) == (0.1, 0.3)

    types = {"liquid": [1.0, 2.0, 3.0], "default": [4.0, 5.0, 6.0]}
    liquid = noise_of(tmp_path, "energy=1.0 config_type=liquid", config_type_sigma=types)
    assert liquid["energy"] == pytest.approx(1.0 * np.sqrt(2), rel=1e-15)
    other = noise_of(tmp_path, "energy=1.0 config_type=solid", config_type_sigma=types)
    assert other["force"][0] == 5.0

    own = noise_of(tmp_path, f"energy=1.0 energy_sigma=0.7 force_sigma=0.8 virial_sigma=0.9 {virial}")
    assert (own["energy"], own["force"][5], own["virial"][3]) == (0.7, 0.8, 0.9)


def test_sigma_columns_and_masks(tmp_path):
    header = HEADER.replace("forces:R:3", "forces:R:3:force_atom_sigma:R:1:force_mask:L:1")
    atoms = "Si 0 0 0 0.1 0.2 0.3 0.5 F\nSi 2 1 1 nan -0.2 -0.3 0.6 T\n"
    noise = noise_of(tmp_path, "energy=1.0", header, atoms)
    np.testing.assert_array_equal(noise["force"], [0.5] * 3)  # true excludes
    noise = noise_of(tmp_path, "energy=1.0", header, atoms.replace("nan", "0").replace("T", "F"))
    np.testing.assert_array_equal(noise["force"], [0.5] * 3 + [0.6] * 3)

    header = HEADER.replace("forces:R:3", "forces:R:3:force_atom_sigma:R:1:force_component_sigma:R:3")
    atoms = "Si 0 0 0 0.1 0.2 0.3 0.5 1 2 3\nSi 2 1 1 0 -0.2 -0.3 0.6 4 5 6\n"
    noise = noise_of(tmp_path, "energy=1.0", header, atoms)
    np.testing.assert_array_equal(noise["force"], [1, 2, 3, 4, 5, 6])

    nine = "1 8 9 8 2 7 9 7 3"
    noise = noise_of(tmp_path, f'energy=1.0 virial="1 0 0 0 1 0 0 0 1" virial_component_sigma="{nine}"')
    np.testing.assert_array_equal(noise["virial"], [1, 2, 3, 7, 9, 8])


def test_zero_sigma_needs_absent_data(tmp_path):
    with pytest.raises(InputError, match=r"frame 0 .*the virial sigma is 0, expected > 0.*data.virial_key"):
        noise_of(tmp_path, 'energy=1.0 config_type=x virial="1 0 0 0 1 0 0 0 1"', config_type_sigma={"x": [1, 1, 0]})
    assert noise_of(tmp_path, "energy=1.0 config_type=x", config_type_sigma={"x": [1, 1, 0]})["energy"] > 0


def test_unused_types(tmp_path):
    data = read(tmp_path, frame("energy=1.0 config_type=liquid"))
    config, _, _ = read_config(configuration(tmp_path, config_type_sigma={"liquid": [1, 1, 1], "liquit": [1, 1, 1]}))
    assert unused_types(data.structures, config) == ["liquit"]


# ---- e0 and distances ---------------------------------------------------------------------------------------------

@pytest.fixture
def two_species(tmp_path):
    frames = [isolated("Si"), isolated("C"), *toy_frames(6, species=("Si", "C"))]
    write_frames(tmp_path / "train.xyz", frames)
    return read_dataset(["train.xyz"], DataConfig(train="train.xyz"), tmp_path)


def test_e0(two_species):
    structures, species, zero = two_species.structures, two_species.species, [0.0] * 8
    assert species == ["C", "Si"]
    assert atom_energies("isolated", structures, species, 4.0, zero) == pytest.approx(E0, abs=1e-7)
    assert atom_energies({"Si": -1.0, "C": -2.0}, structures, species, 4.0, zero) == {"Si": -1.0, "C": -2.0}
    fitted = atom_energies("fit", structures, species, 4.0, zero)
    counts = np.array([[s.symbols.count(x) for x in species] for s in structures])
    energies = np.array([s.energy for s in structures])
    residual = energies - counts @ [fitted[x] for x in species]
    np.testing.assert_allclose(counts.T @ residual, 0.0, atol=1e-9 * np.abs(energies).sum())
    shifted = atom_energies("isolated", structures, species, 4.0, [0.5] * 8)
    assert shifted["Si"] == pytest.approx(E0["Si"] - 0.5, abs=1e-7)


def test_e0_faults(two_species):
    structures, zero = two_species.structures, [0.0] * 8
    with pytest.raises(InputError, match='e0 = "isolated" needs a frame .*for Si.*e0 = "fit"'):
        atom_energies("isolated", structures[1:], ["C", "Si"], 4.0, zero[1:])
    with pytest.raises(InputError, match="e0 gives no energy for Si"):
        atom_energies({"C": 1.0}, structures, ["C", "Si"], 4.0, zero)
    with pytest.raises(InputError, match="e0 names H, but"):
        atom_energies({"C": 1.0, "Si": 1.0, "H": 1.0}, structures, ["C", "Si"], 4.0, zero)
    with pytest.raises(InputError, match="two isolated Si atoms have different energies"):
        atom_energies("isolated", [structures[0], structures[0]], ["Si"], 4.0, [0.0, 1.0])
    with pytest.raises(InputError, match="no neighbour within 30 A"):
        atom_energies("isolated", structures[:1], ["Si"], 30.0, zero[:1])


def test_shortest_distances(two_species, tmp_path):
    found = shortest_distances(two_species.structures, 4.0, two_species.species)
    expected = {}
    for s in two_species.structures:
        distances = s.atoms.get_all_distances(mic=True)
        for i in range(len(s.atoms)):
            for j in range(i):
                pair = tuple(sorted((s.symbols[i], s.symbols[j])))
                expected[pair] = min(expected.get(pair, 9.0), distances[i, j])
    assert found == pytest.approx(expected, rel=1e-12)
    write_frames(tmp_path / "two.xyz", [Atoms("Si2", [[0, 0, 0], [0, 0, 0.01]], info={"energy": 1.0})])
    data = read_dataset(["two.xyz"], DataConfig(train="two.xyz", forces_key=""), tmp_path)
    with pytest.raises(InputError, match=r"frame 0 .*atoms 0 and 1 are 0\.01 A apart"):
        shortest_distances(data.structures, 4.0, data.species)


def test_frames_after_a_blank_line_are_not_lost_in_silence(tmp_path):
    with pytest.raises(InputError, match="line 9 is blank.*2 frames"):
        read(tmp_path, frame() + frame() + "\n\n" + frame())
    assert len(read(tmp_path, frame() + frame() + "\n \n").structures) == 2


def test_a_file_name_may_hold_an_at_sign(tmp_path):
    (tmp_path / "t").write_text(frame() + frame())
    (tmp_path / "t@0.xyz").write_text(frame() + frame() + frame())
    data = read_dataset(["t@0.xyz"], DataConfig(train="t@0.xyz"), tmp_path)
    assert len(data.structures) == 3


@pytest.mark.parametrize(("extra", "header", "words"), [
    ('energy=-3.0 energy_sigma="0.1 0.2"', HEADER, "energy_sigma has shape"),
    ("energy=-3.0 force_mask=T", HEADER, "force_mask is a column.*whole frame"),
    ("energy=-3.0", HEADER.replace("forces", "energy_sigma"), "energy_sigma is a quantity of the whole frame"),
    ("energy=-3.0", HEADER.replace("forces", "force_atom_sigma"), "force_atom_sigma has shape"),
])
def test_sigmas_in_the_wrong_place_or_shape_are_one_clear_error(tmp_path, extra, header, words):
    with pytest.raises(InputError, match=f"frame 0.*{words}"):
        read(tmp_path, frame(extra, header=header), forces_key="")


def test_a_dummy_atom_is_no_element(tmp_path):
    with pytest.raises(InputError, match="'X'"):
        read(tmp_path, frame(atoms=ATOMS.replace("Si 0 0 0", "X 0 0 0")))
