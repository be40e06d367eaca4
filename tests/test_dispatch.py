"""Run-time choice of the instruction set, threads, and the BLAS library's own threads."""

import os
from dataclasses import replace

import numpy as np
import pytest
from few_body_models import make_channels_model, make_few_body_model
from models import make_two_species_model, random_structure
from programs import run_python

from soapgap.neighbours.arrays import neighbour_arrays
from soapgap.reduction.soap import reduce_term

HERE = os.path.dirname(__file__)
CODE = """
import copy
import sys
import numpy as np
from models import CUTOFF, SPECIES, make_two_species_model, random_structure
from soapgap.neighbours.arrays import neighbour_arrays
from soapgap.reduction.soap import reduce_term
model, out = copy.deepcopy(make_two_species_model(n_max=5, l_max=6)), {}
evaluator = model.evaluator(int(sys.argv[2]))
nb = neighbour_arrays(random_structure(9, n_atoms=40, length=9.0), CUTOFF, SPECIES)
for term in (0, 1):
    out[f"c{term}"], out[f"p{term}"] = evaluator.coefficients(term, nb), evaluator.features(term, nb)
out["e"], out["g"] = evaluator.evaluate(nb)
out["f"], out["w"] = evaluator.forces_and_virial(nb, out["g"])
model.terms[:2] = [reduce_term(term, 1e-10) for term in model.terms[:2]]
reduced = model.evaluator(int(sys.argv[2]))
model.terms[:2] = [reduce_term(term, 1e-10, single_budget=1e-9) for term in model.terms[:2]]
assert any(term.reduced.n_single for term in model.terms[:2])
mixed = model.evaluator(int(sys.argv[2]))
out["me"], out["mg"] = mixed.evaluate(nb)
out["re"], out["rg"] = reduced.evaluate(nb)
out["rf"], out["rw"] = reduced.forces_and_virial(nb, out["rg"])
np.savez(sys.argv[1], S=max(4 * 2.2e-16 * t.zeta * t.cancellation for t in model.terms[:2]), **out)
"""

#: The numbers of models in files: arguments from the third on.
OTHER_TERMS = """
import sys
import numpy as np
from models import CUTOFF, SPECIES, random_structure
from soapgap.model import Model
from soapgap.neighbours.arrays import neighbour_arrays
nb, out = neighbour_arrays(random_structure(9, n_atoms=40, length=9.0), CUTOFF, SPECIES), {}
for number, path in enumerate(sys.argv[3:]):
    evaluator = Model.load(path).evaluator(int(sys.argv[2]))
    shares = np.empty(len(nb.neighbour_atom))
    e, g = evaluator.evaluate(nb, shares=shares)
    f, w = evaluator.forces_and_virial(nb, g)
    out |= {f"{number} {name}": array for name, array in (("e", e), ("g", g), ("shares", shares), ("f", f), ("w", w))}
np.savez(sys.argv[1], **out)
"""


def run(tmp_path, isa, threads=1, code=CODE, arguments=()):
    name = tmp_path / f"{isa}-{threads}.npz"
    done = run_python("-c", code, name, threads, *arguments, PYTHONPATH=HERE, SOAPGAP_ISA=isa)
    if "does not have" in done.stderr:
        pytest.skip(f"this CPU has no {isa}")
    assert done.status == 0, done.stderr
    assert done.stderr == ""
    return np.load(name)


@pytest.mark.parametrize("isa", ["avx2", "avx512"])
def test_every_instruction_set_gives_the_same_numbers(tmp_path, isa):
    plain, fast = run(tmp_path, "baseline"), run(tmp_path, isa)
    for name in ("c0", "c1", "p0", "p1"):
        assert np.abs(plain[name]).max() > 0.01
        np.testing.assert_allclose(fast[name], plain[name], rtol=0, atol=1e-12)
    for name in ("e", "g", "f", "w", "re", "rg", "rf", "rw", "me", "mg"):
        bound = max(1e-10 * np.abs(plain[name]).max(), float(plain["S"]))
        np.testing.assert_allclose(fast[name], plain[name], rtol=0, atol=bound)


@pytest.fixture(scope="module")
def other_terms(tmp_path_factory):
    """Files of models with other terms than plain soap and pairs, and their numbers without any vector instructions."""
    folder, files = tmp_path_factory.mktemp("other"), []
    channels = make_channels_model()
    reduced = replace(channels, terms=[reduce_term(term, 1e-10) for term in channels.terms])
    for model in (make_few_body_model(), make_few_body_model("spline"), channels, reduced):
        files.append(str(folder / f"{len(files)}.safetensors"))
        model.save(files[-1])
    return files, run(folder, "baseline", code=OTHER_TERMS, arguments=files)


@pytest.mark.parametrize("isa", ["avx2", "avx512"])
def test_other_terms_are_the_same_under_every_instruction_set(tmp_path, isa, other_terms):
    files, plain = other_terms
    fast = run(tmp_path, isa, code=OTHER_TERMS, arguments=files)
    assert len(plain.files) == 5 * len(files)
    for name in plain.files:
        np.testing.assert_allclose(fast[name], plain[name], rtol=0, atol=1e-12 * max(1.0, np.abs(plain[name]).max()))
        assert (np.abs(plain[name]).max() > 0.1) == (name not in ("2 shares", "3 shares"))  # soap terms share nothing


def test_an_unknown_instruction_set_is_one_clear_error(tmp_path):
    done = run_python("-c", CODE, tmp_path / "x.npz", "1", PYTHONPATH=HERE, SOAPGAP_ISA="sse9")
    assert done.status != 0
    assert "SOAPGAP_ISA=sse9" in done.stderr.splitlines()[-1]


def test_threads_give_the_same_bits_again(tmp_path):
    nb = neighbour_arrays(random_structure(9, n_atoms=200, length=16.0), 4.0, ["Si", "O"])
    model = make_two_species_model()
    once, again, single = (model.evaluator(n).evaluate(nb) for n in (2, 2, 1))
    for a, b, c in zip(once, again, single):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, c, rtol=0, atol=1e-12 * np.abs(c).max())


def test_our_blas_is_serial():
    """The OpenBLAS that the evaluator uses is told to stay serial: threads are ours."""
    import ctypes
    import glob

    import scipy_openblas32

    make_two_species_model().evaluator()
    library = ctypes.CDLL(glob.glob(scipy_openblas32.get_lib_dir() + "/libscipy_openblas.*")[0])
    assert library.scipy_openblas_get_num_threads() == 1


def test_an_exception_in_a_thread_is_one_error():
    from soapgap import InputError

    nb = neighbour_arrays(random_structure(9, n_atoms=200, length=16.0), 4.0, ["Si", "O"])
    evaluator = make_two_species_model().evaluator(2)
    nb.vectors[5] = np.nan
    with pytest.raises(InputError, match="not finite"):
        evaluator.evaluate(nb)
    nb.vectors[5] = [1.0, 1.0, 1.0]
    energies, _ = evaluator.evaluate(nb)
    assert np.isfinite(energies).all()


FORK = """
import multiprocessing, sys
import numpy as np
from models import make_two_species_model, random_structure
from soapgap.neighbours.arrays import neighbour_arrays
nb = neighbour_arrays(random_structure(9, n_atoms=200, length=16.0), 4.0, ["Si", "O"])
evaluator = make_two_species_model().evaluator(2)
def energy(_):
    return evaluator.evaluate(nb)[0].sum()
here = energy(0)
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert np.allclose(pool.map(energy, range(4)), here, rtol=0, atol=1e-9)
"""


def test_a_forked_process_can_evaluate():
    """The OpenMP team does not survive a fork; the child must not wait for it."""
    done = run_python("-c", FORK, PYTHONPATH=HERE)
    assert done.status == 0, done.stderr


def test_python_threads_may_share_an_evaluator():
    from concurrent.futures import ThreadPoolExecutor

    evaluator = make_two_species_model().evaluator()
    lists = [neighbour_arrays(random_structure(seed, n_atoms=60, length=10.0), 4.0, ["Si", "O"]) for seed in range(4)]
    expected = [evaluator.evaluate(nb) for nb in lists]
    with ThreadPoolExecutor(4) as pool:
        for k, (energies, gradients) in enumerate(pool.map(lambda n: evaluator.evaluate(lists[n % 4]), range(40))):
            np.testing.assert_array_equal(energies, expected[k % 4][0])
            np.testing.assert_array_equal(gradients, expected[k % 4][1])


def test_blas_is_made_serial_again():
    """A limit of threadpoolctl that ends sets the evaluator's BLAS back to many threads."""
    import ctypes
    import glob

    import scipy_openblas32

    nb = neighbour_arrays(random_structure(9), 4.0, ["Si", "O"])
    evaluator = make_two_species_model().evaluator()
    library = ctypes.CDLL(glob.glob(scipy_openblas32.get_lib_dir() + "/libscipy_openblas.*")[0])
    library.scipy_openblas_set_num_threads(2)
    evaluator.evaluate(nb)
    assert library.scipy_openblas_get_num_threads() == 1


def test_only_arrays_are_taken():
    from soapgap import InputError

    evaluator = make_two_species_model().evaluator()
    nb = neighbour_arrays(random_structure(9), 4.0, ["Si", "O"])
    want = evaluator.evaluate(nb)[0]
    vectors = nb.vectors
    nb.vectors = vectors.tolist()
    with pytest.raises(InputError, match="vectors is a list"):
        evaluator.evaluate(nb)
    nb.vectors = vectors
    vectors.flags.writeable = False
    np.testing.assert_array_equal(evaluator.evaluate(nb)[0], want)


def test_absurd_numbers_of_threads_are_refused():
    from soapgap import InputError

    for n in (0, -1, 100_000):
        with pytest.raises(InputError, match="1 to 1024"):
            make_two_species_model().evaluator(n)
