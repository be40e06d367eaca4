# cython: language_level=3, boundscheck=False, wraparound=False, binding=True
# distutils: language=c++
"""The Cython face of the C++ evaluator: checks, one call each, no formula.

Arrays, signs and units are those of ``cython/evaluator/soapgap.hpp``: vectors r_ij = r_j - r_i in Angstrom, energies in
eV, gradients de_i/dr_ij in eV/Angstrom, virial W = -dE/dstrain in eV.
"""
import json
import threading
from collections import namedtuple

import numpy as np

from libcpp.memory cimport unique_ptr

from soapgap.errors import InputError, ModelFileError

soapgap_input_error = <PyObject *>InputError  # soapgap.errors keeps it alive

#: What a model asks of its host beyond neighbours (`struct Needs`): sums over all centres first, an order of neighbours, energy
#: that is handed over to neighbours, positions.
Needs = namedtuple("Needs", "sums order handed positions")
#: A named set of outputs of every centre.
Property = namedtuple("Property", "name unit irreps n_out")


cdef class Evaluator:
    """A model in memory, with the buffers to evaluate it.

    Parameters
    ----------
    model : bytes
        The content of a model file.
    n_threads : int
        OpenMP threads of `evaluate`. Two runs with the same number give the same bits.

    Attributes
    ----------
    content : bytes
        The model file's content.
    species : tuple of str
    cutoff : float
        Angstrom; the largest of all terms.
    n_terms : int
        Of all properties together.
    n_threads : int
    needs : Needs
        What the model asks of its host beyond neighbours.
    properties : tuple of Property
    metadata : str
        The canonical JSON string of the file.

    Raises
    ------
    ModelFileError
        If the bytes are not a whole, unaltered model of a version that this soapgap knows.
    """
    cdef Model model
    cdef unique_ptr[Workspace] workspace
    cdef readonly bytes content
    cdef object lock  # the workspace serves one call at a time; other Python threads wait
    cdef readonly int n_threads
    cdef readonly tuple species
    cdef readonly double cutoff
    cdef readonly int n_terms
    cdef readonly object needs
    cdef readonly tuple properties
    cdef readonly str metadata
    cdef tuple soap_terms  # of each term: species of its centres, shape of its coefficients; None: not a soap term

    def __init__(self, bytes model, int n_threads=1):
        cdef const char *begin = model
        cdef size_t size = len(model)
        try:
            self.model = Model.from_bytes(begin, size)
        except InputError as error:
            raise ModelFileError(str(error)) from None
        self.content = model
        self.species = tuple(s.decode() for s in self.model.species())
        self.cutoff = self.model.cutoff()
        self.n_terms = self.model.n_terms()
        cdef CNeeds needs = self.model.needs()
        self.needs = Needs(needs.sums, needs.order, needs.handed, needs.positions)
        self.properties = tuple(Property(p.name.decode(), p.unit.decode(), p.irreps.decode(), p.n_out)
                                for p in self.model.properties())
        self.metadata = self.model.metadata().decode()
        terms = [term for entry in json.loads(self.metadata)["properties"] for term in entry["terms"]]
        self.soap_terms = tuple(_soap_shape(term, self.species) if term["kind"] == "soap" else None for term in terms)
        self._begin(n_threads)

    cdef _begin(self, int n_threads):
        """Buffers and lock of this evaluator alone."""
        if not 1 <= n_threads <= 1024:
            raise InputError(f"n_threads = {n_threads}, expected 1 to 1024")
        self.workspace.reset(new Workspace(n_threads))
        self.lock = threading.Lock()
        self.n_threads = n_threads

    def clone(self, int n_threads=1):
        """The same model, shared and not copied, with buffers of its own: for use in another thread."""
        cdef Evaluator other = Evaluator.__new__(Evaluator)
        other.model = self.model
        other.content = self.content
        other.species, other.cutoff, other.n_terms = self.species, self.cutoff, self.n_terms
        other.needs, other.properties, other.metadata = self.needs, self.properties, self.metadata
        other.soap_terms = self.soap_terms
        other._begin(n_threads)
        return other

    def __reduce__(self):
        return Evaluator, (self.content, self.n_threads)

    def evaluate(self, neighbours, bint gradients=True, shares=None, sums=None):
        """Energies of the centres and their gradients, in one pass.

        Parameters
        ----------
        neighbours : soapgap.neighbours.arrays.NeighbourArrays
        gradients : bool
            False saves the backward half.
        shares : ndarray, float64, shape (n_pairs,), optional
            Overwritten with the energy (eV) that each centre hands over to the atom of the pair: terms may share their energy
            among three atoms (`needs.handed`). The energies then are what the centres keep; without it they keep all.
        sums : ndarray, float64, optional
            What `accumulate` gives for the whole structure, where `neighbours` is a part of one. Otherwise they are made here.

        Returns
        -------
        energies : ndarray, shape (n_centres,)
            e_i in eV; the total energy is their sum (and that of the shares).
        gradients : ndarray, shape (n_pairs, 3), or None
            de_i/dr_ij in eV/Angstrom.

        Raises
        ------
        InputError
            If arrays do not fit one another, or the model has several outputs in place of an energy (see `outputs`).
        """
        if self.properties[0].n_out != 1:
            raise InputError(f"the model has {self.properties[0].n_out} energies for each centre; `evaluate` is for one: use "
                             "`outputs`")
        values, pairs = self._evaluate(neighbours, 0, gradients, None, 0, shares, sums)
        return values.reshape(-1), pairs

    def outputs(self, neighbours, property="energy", adjoint=None, output=None, sums=None):
        """All outputs of a property, and a derivative of them.

        Parameters
        ----------
        neighbours : soapgap.neighbours.arrays.NeighbourArrays
        property : str
            One of `properties`, by name.
        adjoint : ndarray, float64, shape (n_centres, n_out), optional
            dL/d(values): `pairs` is dL/dr_ij. If the model needs sums, the neighbours must be those of a whole structure.
        output : int, optional
            `pairs` is the derivative of the sum of this output over all centres. With neither of the two, only values are made.
        sums : ndarray, float64, optional
            As in `evaluate`.

        Returns
        -------
        values : ndarray, shape (n_centres, n_out)
        pairs : ndarray, shape (n_pairs, 3), or None

        Raises
        ------
        InputError
            If there is no such property or output, or arrays do not fit one another.
        """
        names = [p.name for p in self.properties]
        if property not in names:
            raise InputError(f"the model has no property {property!r}; it has {', '.join(names)}")
        if adjoint is not None and output is not None:
            raise InputError("both adjoint and output are given: give one of them, it says whose derivative is made")
        backward = adjoint is not None or output is not None
        return self._evaluate(neighbours, names.index(property), backward, adjoint, output or 0, None, sums)

    cdef _evaluate(self, neighbours, int property, bint backward, adjoint, int output, handed, sums):
        cdef System system = _system(neighbours, len(self.species))
        cdef int64_t n_out = self.properties[property].n_out
        cdef int64_t n_pairs = _count(neighbours.neighbour_atom, "neighbour_atom")
        cdef double[:, ::1] values = np.empty((system.neighbours.n_centres, n_out))
        cdef double[:, ::1] pairs = np.empty((n_pairs if backward else 0, 3))
        cdef const double[:, ::1] given
        cdef double[::1] shared
        cdef const double[::1] summed
        cdef const double *c_sums = NULL
        cdef double none[3]  # in place of arrays without elements, whose first one has no address
        cdef Workspace *w = self.workspace.get()
        cdef Outputs outputs
        cdef Adjoint back
        outputs.property = property
        outputs.values = &values[0, 0] if values.shape[0] else none
        outputs.handed = NULL
        back.output = output
        back.values = NULL
        back.pairs = &pairs[0, 0] if pairs.shape[0] else none
        if handed is not None:
            shared = _writable(handed, np.float64, (n_pairs,), "shares")
            outputs.handed = &shared[0] if n_pairs else none
        if adjoint is not None:
            given = _checked(adjoint, np.float64, (system.neighbours.n_centres, n_out), "adjoint")
            back.values = &given[0, 0] if given.shape[0] else none
        if sums is not None:
            summed = _checked(sums, np.float64, (n_sums(self.model),), "sums")
            c_sums = &summed[0] if summed.shape[0] else NULL
        with self.lock, nogil:
            c_evaluate(self.model, w[0], system, c_sums, outputs, &back if backward else NULL)
        _clear_beside_rows(neighbours.offsets, np.asarray(pairs) if backward else None, handed)
        return np.asarray(values), (np.asarray(pairs) if backward else None)

    def accumulate(self, neighbours):
        """What must be summed over all centres of a structure before any of them can be evaluated (`needs.sums`).

        Returns
        -------
        sums : ndarray, float64
            The part of these centres: to be added up over all parts of the structure. Of size 0 if the model needs none.
        """
        cdef System system = _system(neighbours, len(self.species))
        cdef double[::1] sums = np.zeros(n_sums(self.model))
        cdef Workspace *w = self.workspace.get()
        if sums.shape[0]:
            with self.lock, nogil:
                c_accumulate(self.model, w[0], system, &sums[0])
        return np.asarray(sums)

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
        cdef System system = _system(neighbours, len(self.species), True)
        cdef int64_t n_pairs = _count(neighbours.neighbour_atom, "neighbour_atom")
        cdef const double[:, ::1] g = _checked(gradients, np.float64, (n_pairs, 3), "gradients")
        cdef double[:, ::1] forces = np.zeros((neighbours.n_atoms, 3))
        cdef double[:, ::1] virial = np.zeros((3, 3))
        if g.shape[0] > 0:
            with nogil:
                add_forces(system.neighbours, &g[0, 0], system.centre_atom, system.neighbour_atom, &forces[0, 0], &virial[0, 0])
        return np.asarray(forces), np.asarray(virial)

    def n_features(self, int term):
        """Length of the feature vector of a soap term: (l_max + 1) N (N + 1) / 2."""
        return n_features(self.model, term)

    def coefficients(self, int term, neighbours):
        """Density coefficients c[centre of the term's species, lm, channel]."""
        self.n_features(term)
        shape = (self._n_rows(term, neighbours), *self.soap_terms[term][1])
        cdef double[:, :, ::1] c = np.empty(shape)
        cdef System system = _system(neighbours, len(self.species))
        cdef Workspace *w = self.workspace.get()
        if c.shape[0] > 0:
            with self.lock, nogil:
                density_coefficients(self.model, w[0], term, system.neighbours, &c[0, 0, 0])
        return np.asarray(c)

    def features(self, int term, neighbours):
        """Features x = p / |p| of the centres of the term's species, shape (n_rows, n_features)."""
        n_columns = self.n_features(term)  # refuses a term that is not there, or not a soap term
        cdef double[:, ::1] x = np.empty((self._n_rows(term, neighbours), n_columns))
        cdef System system = _system(neighbours, len(self.species))
        cdef Workspace *w = self.workspace.get()
        if x.shape[0] > 0:
            with self.lock, nogil:
                features(self.model, w[0], term, system.neighbours, &x[0, 0])
        return np.asarray(x)

    def rows(self, int term, neighbours, bint gradients=True, bint strain=True, bint local=False):
        """Rows of the design matrix of one structure, for a term with sparse points (`struct Rows` has the formulas).

        Parameters
        ----------
        term : int
            Its place among the terms of all properties.
        neighbours : soapgap.neighbours.arrays.NeighbourArrays
        gradients, strain, local : bool
            Which rows are made beside that of the energy.

        Returns
        -------
        energy_row : ndarray, shape (n_sparse,)
            K_s.
        gradient_rows : ndarray, shape (3 n_atoms, n_sparse), or None
            dK_s/dR; forces are minus their product with the weights.
        strain_rows : ndarray, shape (6, n_sparse), or None
            dK_s/dstrain, xx yy zz yz xz xy; the virial is minus their product with the weights.
        local_rows : ndarray, shape (n_atoms, n_sparse), or None
            The part of each atom; they add up to the energy row.

        Raises
        ------
        InputError
            If the term has no sparse points, or arrays do not fit one another.
        """
        cdef int64_t n = n_sparse(self.model, term)
        cdef int64_t n_atoms = neighbours.n_atoms
        cdef System system = _system(neighbours, len(self.species), True)
        cdef double[::1] e = np.zeros(n)
        cdef double[:, ::1] g = np.zeros((3 * n_atoms if gradients else 0, n))
        cdef double[:, ::1] s = np.zeros((6 if strain else 0, n))
        cdef double[:, ::1] own = np.zeros((n_atoms if local else 0, n))
        cdef Rows rows
        cdef Workspace *w = self.workspace.get()
        rows.energy = &e[0] if n else NULL
        rows.gradients = &g[0, 0] if g.size else NULL
        rows.strain = &s[0, 0] if s.size else NULL
        rows.local = &own[0, 0] if own.size else NULL
        with self.lock, nogil:
            c_rows(self.model, w[0], term, system, rows)
        return (np.asarray(e), np.asarray(g) if gradients else None, np.asarray(s) if strain else None,
                np.asarray(own) if local else None)

    def _n_rows(self, int term, neighbours):
        return int(np.count_nonzero(np.asarray(neighbours.centre_species) == self.soap_terms[term][0]))


def _soap_shape(term, species):
    """Species index of the centres, and shape (lm, channel) of the coefficients of one centre."""
    source = term["source"]
    n_channels = len(term["neighbours"]) if source["channels"] is None else source["channels"]["n"]
    return species.index(term["centre"]), ((source["l_max"] + 1) ** 2, source["n_max"] * n_channels)


include "_arrays.pxi"
