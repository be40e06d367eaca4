# cython: language_level=3, boundscheck=False, wraparound=False, binding=True
# distutils: language=c++
"""The Cython face of the C++ evaluator: checks, one call each, no formula.

Arrays, signs and units are those of ``cython/evaluator/soapgap.hpp``: vectors r_ij = r_j - r_i in Angstrom, energies in
eV, gradients de_i/dr_ij in eV/Angstrom, virial W = -dE/dstrain in eV.
"""
import json
import threading

import numpy as np

from libcpp.memory cimport unique_ptr

from soapgap.errors import InputError, ModelFileError

soapgap_input_error = <PyObject *>InputError  # soapgap.errors keeps it alive


cdef class Evaluator:
    """A model in memory, with the buffers to evaluate it.

    Parameters
    ----------
    model : bytes
        The content of a model file.
    n_threads : int
        OpenMP threads of `evaluate`. Two runs with the same number give the same bits.

    Raises
    ------
    ModelFileError
        If the bytes are not a whole, unaltered model of a version that this soapgap knows.
    """
    cdef Model model
    cdef unique_ptr[Workspace] workspace
    cdef bytes content
    cdef object lock  # the workspace serves one call at a time; other Python threads wait
    cdef readonly tuple species
    cdef readonly double cutoff
    cdef readonly int n_terms
    cdef readonly int n_threads
    cdef readonly bint shares_energy
    cdef readonly bint needs_order
    cdef readonly bint whole_structure
    cdef readonly str metadata
    cdef tuple centre_of_term, shape_of_term, n_sparse_of_term

    def __init__(self, bytes model, int n_threads=1):
        if not 1 <= n_threads <= 1024:
            raise InputError(f"n_threads = {n_threads}, expected 1 to 1024")
        cdef const char *begin = model
        cdef size_t size = len(model)
        try:
            self.model = Model.from_bytes(begin, size)
        except InputError as error:
            raise ModelFileError(str(error)) from None
        self.workspace.reset(new Workspace(n_threads))
        self.content = model
        self.lock = threading.Lock()
        self.n_threads = n_threads
        self.species = tuple(s.decode() for s in self.model.species())
        self.cutoff = self.model.cutoff()
        self.n_terms = self.model.n_terms()
        self.shares_energy = self.model.shares_energy()
        self.needs_order = self.model.needs_order()
        self.whole_structure = self.model.whole_structure()
        self.metadata = self.model.metadata().decode()
        terms = json.loads(self.metadata)["terms"]
        self.centre_of_term = tuple(self.species.index(t["centre"]) if t["kind"] == "soap" else None for t in terms)
        self.shape_of_term = tuple(((t["l_max"] + 1) ** 2, t["n_max"] * t.get("channels", {"n": len(t["neighbours"])})["n"])
                                   if t["kind"] == "soap" else None for t in terms)
        self.n_sparse_of_term = tuple(t["n_sparse"] if t["kind"] == "soap" else None for t in terms)

    def clone(self, int n_threads=1):
        """The same model with buffers of its own, for use in another thread."""
        return Evaluator(self.content, n_threads)

    def __reduce__(self):
        return Evaluator, (self.content, self.n_threads)

    def evaluate(self, neighbours, bint gradients=True, shares=None):
        """Energies of the centres and their gradients.

        Parameters
        ----------
        neighbours : soapgap.neighbours.arrays.NeighbourArrays
        gradients : bool
            False saves the backward half.
        shares : ndarray, float64, shape (n_pairs,), optional
            Overwritten with the energy (eV) that each centre hands over to the atom of the pair: terms may share their energy
            among three atoms (`shares_energy`). The energies then are what the centres keep; without it they keep all.

        Returns
        -------
        energies : ndarray, shape (n_centres,)
            e_i in eV; the total energy is their sum (and that of the shares).
        gradients : ndarray, shape (n_pairs, 3), or None
            de_i/dr_ij in eV/Angstrom.
        """
        cdef Neighbours nb = _view(neighbours, len(self.species))
        cdef double[::1] e = np.empty(nb.n_centres)
        cdef double[:, ::1] g = np.empty((len(neighbours.neighbour_atom) if gradients else 0, 3))
        cdef double *pe = &e[0] if e.shape[0] else NULL
        cdef double *pg = &g[0, 0] if g.shape[0] else NULL
        cdef Workspace *w = self.workspace.get()
        cdef double none[3]
        cdef double[::1] handed
        cdef double *ph = NULL
        if gradients and pg == NULL:
            pg = none
        if shares is not None:
            handed = _checked(shares, np.float64, (len(neighbours.neighbour_atom),), "shares")
            ph = &handed[0] if handed.shape[0] else none
        with self.lock, nogil:
            evaluate(self.model, w[0], nb, pe, pg, ph)
        return np.asarray(e), (np.asarray(g) if gradients else None)

    def profile(self):
        """Seconds spent in each phase of the soap terms so far, over all threads, as a dict.

        Empty unless SOAPGAP_PROFILE=1 was in the environment when the evaluator was made (docs/performance.md).
        """
        return {name.decode(): seconds for name, seconds in self.workspace.get().profile()}

    def forces_and_virial(self, neighbours, gradients):
        """What pair gradients mean for atoms: F_i += g_ij, F_j -= g_ij, W -= r_ij (x) g_ij.

        Returns
        -------
        forces : ndarray, shape (n_atoms, 3)
            eV/Angstrom.
        virial : ndarray, shape (3, 3)
            W = -dE/dstrain in eV.
        """
        cdef Neighbours nb = _view(neighbours, len(self.species))
        cdef const double[:, ::1] g = _checked(gradients, np.float64, (len(neighbours.neighbour_atom), 3), "gradients")
        cdef const int64_t[::1] centre = _atoms(neighbours.centre_atom, neighbours.n_atoms, "centre_atom")
        cdef const int64_t[::1] other = _atoms(neighbours.neighbour_atom, neighbours.n_atoms, "neighbour_atom")
        cdef double[:, ::1] forces = np.zeros((neighbours.n_atoms, 3))
        cdef double[:, ::1] virial = np.zeros((3, 3))
        if g.shape[0] > 0:
            with nogil:
                add_forces(nb, &g[0, 0], &centre[0], &other[0], &forces[0, 0], &virial[0, 0])
        return np.asarray(forces), np.asarray(virial)

    def n_features(self, int term):
        """Length of the feature vector of a soap term: (l_max + 1) N (N + 1) / 2."""
        return n_features(self.model, term)

    def coefficients(self, int term, neighbours):
        """Density coefficients c[centre of the term's species, lm, channel]."""
        self.n_features(term)
        shape = (self._n_rows(term, neighbours), *self.shape_of_term[term])
        cdef double[:, :, ::1] c = np.empty(shape)
        cdef Neighbours nb = _view(neighbours, len(self.species))
        cdef Workspace *w = self.workspace.get()
        if c.shape[0] > 0:
            with self.lock, nogil:
                density_coefficients(self.model, w[0], term, nb, &c[0, 0, 0])
        return np.asarray(c)

    def features(self, int term, neighbours):
        """Features x = p / |p| of the centres of the term's species, shape (n_rows, n_features)."""
        n_columns = self.n_features(term)  # refuses a term that is not there, or not a soap term
        cdef double[:, ::1] x = np.empty((self._n_rows(term, neighbours), n_columns))
        cdef Neighbours nb = _view(neighbours, len(self.species))
        cdef Workspace *w = self.workspace.get()
        if x.shape[0] > 0:
            with self.lock, nogil:
                features(self.model, w[0], term, nb, &x[0, 0])
        return np.asarray(x)

    def kernel_rows(self, int term, neighbours, bint gradients=True, bint strain=True):
        """Rows of the design matrix of one structure, K_s = sum over centres of delta^2 (x . X_s)^zeta.

        Returns
        -------
        energy_row : ndarray, shape (n_sparse,)
        gradient_rows : ndarray, shape (3 n_atoms, n_sparse), or None
            dK_s/dR; forces are minus their product with the weights.
        strain_rows : ndarray, shape (6, n_sparse), or None
            dK_s/dstrain, xx yy zz yz xz xy; the virial is minus their product with the weights.
        """
        self.n_features(term)
        cdef int64_t n_sparse = self.n_sparse_of_term[term]
        cdef Neighbours nb = _view(neighbours, len(self.species))
        cdef const int64_t[::1] centre = _atoms(neighbours.centre_atom, neighbours.n_atoms, "centre_atom")
        cdef const int64_t[::1] other = _atoms(neighbours.neighbour_atom, neighbours.n_atoms, "neighbour_atom")
        cdef double[::1] e = np.zeros(n_sparse)
        cdef double[:, ::1] g = np.zeros((3 * neighbours.n_atoms if gradients else 0, n_sparse))
        cdef double[:, ::1] s = np.zeros((6 if strain else 0, n_sparse))
        cdef double *pg = &g[0, 0] if g.size else NULL
        cdef double *ps = &s[0, 0] if s.size else NULL
        cdef const int64_t *pc = &centre[0] if centre.shape[0] else NULL
        cdef const int64_t *po = &other[0] if other.shape[0] else NULL
        cdef Workspace *w = self.workspace.get()
        if n_sparse > 0:
            with self.lock, nogil:
                kernel_rows(self.model, w[0], term, nb, pc, po, &e[0], pg, ps)
        return np.asarray(e), (np.asarray(g) if gradients else None), (np.asarray(s) if strain else None)

    def _n_rows(self, int term, neighbours):
        return int(np.count_nonzero(np.asarray(neighbours.centre_species) == self.centre_of_term[term]))


def sort_pairs(int64_t n_atoms, i, j, shift):
    """A full list in compressed rows from pairs that are given once; sorted by i, then j, then shift, in linear time.

    Parameters
    ----------
    n_atoms : int
    i, j : ndarray, int64, shape (n_pairs / 2,)
    shift : ndarray, int32, shape (n_pairs / 2, 3)
        (i, j, shift) stands for (j, i, -shift) as well.

    Returns
    -------
    offsets : ndarray, int64, shape (n_atoms + 1,)
        Pairs of atom i are entries offsets[i] .. offsets[i + 1] - 1 of the others.
    j : ndarray, int64, shape (n_pairs,)
    shift : ndarray, int64, shape (n_pairs, 3)
    """
    cdef const int64_t[::1] first = _atoms(i, n_atoms, "i")
    cdef int64_t n = first.shape[0]
    cdef const int64_t[::1] second = _atoms(_checked(j, np.int64, (n,), "j"), n_atoms, "j")
    cdef const int32_t[:, ::1] cell = _checked(shift, np.int32, (n, 3), "shift")
    cdef int64_t[::1] offsets = np.zeros(n_atoms + 1, dtype=np.int64)
    cdef int64_t[::1] neighbour = np.empty(2 * n, dtype=np.int64)
    cdef int64_t[:, ::1] ordered = np.empty((2 * n, 3), dtype=np.int64)
    if n:
        with nogil:
            c_sort_pairs(n_atoms, n, &first[0], &second[0], &cell[0, 0], &offsets[0], &neighbour[0], &ordered[0, 0])
    return np.asarray(offsets), np.asarray(neighbour), np.asarray(ordered)


def pair_vectors(neighbours, positions, box):
    """Overwrites the vectors of a list: r_ij = r_j - r_i + shift . box.

    Parameters
    ----------
    neighbours : soapgap.neighbours.arrays.NeighbourArrays
        With `shift`.
    positions : ndarray, float64, shape (n_atoms, 3)
        Angstrom.
    box : ndarray, float64, shape (3, 3)
        Rows are lattice vectors, Angstrom.
    """
    cdef int64_t n = len(neighbours.centre_atom)
    cdef int64_t n_pairs = len(neighbours.neighbour_atom)
    cdef const int64_t[::1] centre = _atoms(neighbours.centre_atom, neighbours.n_atoms, "centre_atom")
    cdef const int64_t[::1] other = _atoms(neighbours.neighbour_atom, neighbours.n_atoms, "neighbour_atom")
    cdef const int64_t[::1] offsets = _rows(neighbours, n, n_pairs)
    cdef const int64_t[:, ::1] shift = _checked(neighbours.shift, np.int64, (n_pairs, 3), "shift")
    cdef const double[:, ::1] r = _checked(positions, np.float64, (neighbours.n_atoms, 3), "positions")
    cdef const double[:, ::1] h = _checked(box, np.float64, (3, 3), "box")
    cdef double[:, ::1] vectors = _checked(neighbours.vectors, np.float64, (n_pairs, 3), "vectors")
    if n_pairs:
        with nogil:
            c_pair_vectors(n, &centre[0], &offsets[0], &other[0], &shift[0, 0], &r[0, 0], &h[0, 0], &vectors[0, 0])


def _checked(array, dtype, shape, name):
    # a list would become an array that dies before it is read: only arrays that the caller keeps
    if not isinstance(array, np.ndarray):
        raise InputError(f"{name} is a {type(array).__name__}, expected a numpy array of {np.dtype(dtype)}{list(shape)}")
    if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
        raise InputError(f"{name} is {array.dtype}{list(array.shape)}, expected a C-ordered "
                         f"{np.dtype(dtype)}{list(shape)} array")
    return array


def _atoms(array, n_atoms, name):
    _checked(array, np.int64, np.shape(array)[:1], name)
    if array.size and (array.min() < 0 or array.max() >= n_atoms):
        raise InputError(f"{name} holds indices from {array.min()} to {array.max()}, expected 0 to {n_atoms - 1}")
    return array


cdef const int64_t[::1] _rows(neighbours, int64_t n, int64_t n_pairs) except *:
    """The starts of the rows of n centres, checked."""
    cdef const int64_t[::1] of = _checked(neighbours.offsets, np.int64, (n + 1,), "offsets")
    cdef int64_t i
    for i in range(n):
        if of[i + 1] < of[i]:
            raise InputError("offsets decrease; expected the row starts of a compressed list")
    if of[0] < 0 or of[n] > n_pairs:
        raise InputError(f"offsets run from {of[0]} to {of[n]}, expected within 0 and {n_pairs}")
    return of


cdef Neighbours _view(neighbours, int n_species) except *:
    """Checks the arrays' types, shapes and ranges; the view is valid as long as `neighbours` is."""
    cdef int64_t n = len(neighbours.centre_atom)
    cdef int64_t n_pairs = len(neighbours.neighbour_atom)
    cdef const int32_t[::1] cs = _checked(neighbours.centre_species, np.int32, (n,), "centre_species")
    cdef const int64_t[::1] of = _rows(neighbours, n, n_pairs)
    cdef const int32_t[::1] ns = _checked(neighbours.neighbour_species, np.int32, (n_pairs,), "neighbour_species")
    cdef const double[:, ::1] v = _checked(neighbours.vectors, np.float64, (n_pairs, 3), "vectors")
    cdef int64_t i
    for i in range(n):
        if cs[i] < -1 or cs[i] >= n_species:
            raise InputError(f"centre_species holds {cs[i]}, expected -1 to {n_species - 1}")
    for i in range(n_pairs):
        if ns[i] < -1 or ns[i] >= n_species:
            raise InputError(f"neighbour_species holds {ns[i]}, expected -1 to {n_species - 1}")
    cdef Neighbours nb
    nb.n_centres = n
    nb.centre_species = &cs[0] if n else NULL
    nb.offsets = &of[0]
    nb.neighbour_species = &ns[0] if n_pairs else NULL
    nb.vectors = &v[0, 0] if n_pairs else NULL
    return nb
