"""`soapgap check`: every fault that is planted is found where it is, and nothing is found in clean data."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from fault_sets import DEMO, checked, notes, serious, small_sets
from planted_faults import PLANTED, contradicting_stress, copies
from training_tools import labelled, toy_frames

from soapgap.check.findings import Places
from soapgap.check.run import check
from soapgap.check.suggest import _n_sparse, _rounded
from soapgap.errors import InputError

PAGE = Path(__file__).resolve().parent.parent / "docs" / "training.md"


@pytest.fixture(scope="module")
def sets():
    return small_sets()


@pytest.mark.parametrize("name", ["toy", "demo"])
@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(tmp_path, sets, name, fault):
    frames = copies(sets[name])
    planted = PLANTED[fault]
    where = planted.plant(frames)
    result = checked(tmp_path, frames)
    found = [f for f in result.findings if f.code == planted.code]
    assert len(found) == 1, [f.what for f in result.findings]
    assert found[0].severity == planted.severity
    assert planted.words in found[0].what
    if where is not None:
        assert set(where) == set(found[0].frames)
    assert set(serious(result)) <= {planted.code, *planted.beside}, serious(result)
    assert result.status == {"error": 3, "warning": 1, "note": 0}[planted.severity] or planted.severity != "error"


@pytest.mark.parametrize("name", ["toy", "demo"])
def test_clean_data_have_nothing_but_notes(tmp_path, sets, name):
    result = checked(tmp_path, copies(sets[name]))
    assert serious(result) == {}
    assert result.status == 0
    assert {"forces-agree", "virials-agree"} <= set(notes(result))


def test_documentation_knows_every_code(tmp_path, sets):
    section = PAGE.read_text().split("## Checking the data\n")[1].split("\n## ")[0]
    codes = {fault.code for fault in PLANTED.values()} | {code for fault in PLANTED.values() for code in fault.otherwise}
    for name in ("toy", "demo"):
        codes |= set(notes(checked(tmp_path, copies(sets[name]))))
    assert [code for code in sorted(codes) if f"`{code}`" not in section] == []


def test_shipped_test_data_are_clean():
    result = check([DEMO / "si_test.xyz"])
    assert serious(result) == {}
    both = check([DEMO / "si_train.xyz", DEMO / "si_test.xyz"])
    assert serious(both) == {}
    assert notes(both)["isolated-repeated"].frames == (0, 71)  # once for training, once for test
    assert both.places.words((0, 71)).count("frame 0") == 2


def test_relaxed_symmetric_cells_may_have_zero_forces(tmp_path):
    frames = []
    for a in np.linspace(5.0, 5.9, 12):
        frames.append(labelled(bulk("Si", "diamond", a=a, cubic=True)))
        frames[-1].calc.results["forces"][:] = 0.0
    assert "zero-forces" not in serious(checked(tmp_path, frames))


def test_compressed_cells_are_not_out_of_line(tmp_path):
    frames = [labelled(bulk("Si", "diamond", a=a, cubic=True)) for a in np.linspace(3.6, 6.5, 30)]
    frames += toy_frames(30)
    assert serious(checked(tmp_path, frames)) == {}


def test_wrong_names_are_offered_the_right_ones(tmp_path, sets):
    frames = copies(sets["toy"])
    for frame in frames:
        frame.info["REF_energy"] = frame.calc.results.pop("energy")
        frame.arrays["REF_forces"] = frame.calc.results.pop("forces")
        frame.info["REF_virial"] = frame.info.pop("virial")
    result = checked(tmp_path, frames)
    for code, severity in (("energy-key", "error"), ("forces-key", "error"), ("virial-key", "warning")):
        assert serious(result)[code].severity == severity
        assert f"REF_{code.removesuffix('-key')}" in serious(result)[code].what
    right = checked(tmp_path, frames, energy_key="REF_energy", forces_key="REF_forces", virial_key="REF_virial")
    assert serious(right) == {}
    assert "forces-agree" in notes(right)


def test_names_beside_the_right_one_are_no_mixture(tmp_path, sets):
    frames = copies(sets["toy"])
    for frame in frames:
        frame.info["free_energy"] = 1.5
        frame.info["stress_kbar"] = np.arange(6.0)
    for frame in frames[2:6]:
        del frame.info["virial"]
    assert serious(checked(tmp_path, frames)) == {}


def test_labels_that_may_be_the_type_are_offered(tmp_path, sets):
    frames = copies(sets["toy"])
    for k, frame in enumerate(frames):
        frame.info |= {"phase": ("solid", "melt")[k % 2], "comment": f"frame {k} of a run", "code": "same"}
    found = notes(checked(tmp_path, frames))["config-type-key"]
    assert found.values["kinds"] == {"phase": ["melt", "solid"]}
    assert "'phase' divides them into 2 kinds (melt, solid)" in found.what
    assert "config-type-key" not in notes(checked(tmp_path, frames, config_type_key="phase"))
    frames[0].info["config_type"] = "isolated_atom"
    assert "config-type-key" not in notes(checked(tmp_path, frames))


def test_frames_are_named_shortly():
    one, two = Places(["a"], [0] * 20, [*range(20)]), Places(["a", "b"], [0] * 10 + [1] * 10, [*range(10)] * 2)
    words = [one.words(frames) for frames in ([], [3], [3, 4, 5, 9], [1, 3, 5, 7, 9, 11], range(20))]
    assert words == ["", "frame 3", "frames 3-5, 9", "frames 1, 3, 5, 7, 9 and others, 6 in all", "all frames"]
    assert two.words([3, 12, 13, 15]) == "a frame 3; b frames 2-3, 5"


def test_what_cannot_be_read_is_a_finding_and_the_rest_is_looked_at(tmp_path, sets):
    frames = copies(sets["toy"])
    write(tmp_path / "good.xyz", frames, format="extxyz")
    frames[7].positions[2, 1] = np.nan
    write(tmp_path / "bad.xyz", frames, format="extxyz")
    (tmp_path / "empty.xyz").write_text("")
    result = check([tmp_path / "bad.xyz", tmp_path / "empty.xyz", tmp_path / "good.xyz"])
    messages = [f.what for f in result.findings if f.code == "unreadable"]
    assert len(messages) == 2
    assert "frame 7" in messages[0]
    assert "no structure" in messages[1]
    assert sum(row["frames"] for row in result.config_types.values()) == 7 + len(frames)
    with pytest.raises(InputError, match="cannot read the data file.*absent.xyz"):
        check([tmp_path / "absent.xyz"])
    with pytest.raises(InputError, match="expected the paths"):
        check([])


def test_a_frame_that_is_refused_keeps_its_good_quantities(tmp_path, sets):
    frames = copies(sets["toy"])
    contradicting_stress(frames)
    result = checked(tmp_path, frames)
    assert len(serious(result)["contradiction"].frames) == len(frames) - 2  # isolated atoms have no stress to speak of
    assert "virials-agree" in notes(result)  # the virial is right, the stress is not


def test_suggestions(tmp_path, sets):
    suggestion = checked(tmp_path, copies(sets["demo"])).suggestion
    forces = np.concatenate([f.calc.results["forces"].ravel() for f in sets["demo"] if len(f) > 1])
    assert suggestion.scatter["force"] == pytest.approx(np.sqrt(np.mean(forces**2)), rel=1e-6)
    assert suggestion.default_sigma == (0.002, 0.05, 0.05)
    assert suggestion.n_sparse == {"Si": 550}
    assert [_rounded(x) for x in (0.0013, 0.0016, 0.03, 0.08, 1.0)] == [0.001, 0.002, 0.02, 0.1, 1.0]
    assert [_n_sparse(n) for n in (7, 100, 3003, 10**7)] == [7, 100, 550, 4000]
