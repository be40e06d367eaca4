"""Part of `_evaluator.pyx`: neighbour lists as flat arrays. Checks of what a caller hands over, and what makes lists."""

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
    cdef int64_t n = _count(neighbours.centre_atom, "centre_atom")
    cdef int64_t n_pairs = _count(neighbours.neighbour_atom, "neighbour_atom")
    cdef const int64_t[::1] centre = _atoms(neighbours.centre_atom, neighbours.n_atoms, "centre_atom")
    cdef const int64_t[::1] other = _atoms(neighbours.neighbour_atom, neighbours.n_atoms, "neighbour_atom")
    cdef const int64_t[::1] offsets = _rows(neighbours, n, n_pairs)
    cdef const int64_t[:, ::1] shift = _checked(neighbours.shift, np.int64, (n_pairs, 3), "shift")
    cdef const double[:, ::1] r = _checked(positions, np.float64, (neighbours.n_atoms, 3), "positions")
    cdef const double[:, ::1] h = _checked(box, np.float64, (3, 3), "box")
    cdef double[:, ::1] vectors = _writable(neighbours.vectors, np.float64, (n_pairs, 3), "vectors")
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


def _writable(array, dtype, shape, name):
    if not _checked(array, dtype, shape, name).flags.writeable:
        raise InputError(f"{name} is read-only, expected an array to write into: give a copy of it")
    return array


def _count(array, name):
    if not isinstance(array, np.ndarray) or array.ndim != 1:
        raise InputError(f"{name} is {array!r:.60}, expected a numpy array of int64[n]")
    return len(array)


def _clear_beside_rows(offsets, *of_pairs):
    """The evaluator writes the pairs of the rows that it is given; those of a list's other rows get zeros."""
    for array in of_pairs:
        if array is not None:
            array[:offsets[0]] = 0.0
            array[offsets[-1]:] = 0.0


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


cdef System _system(neighbours, int n_species, bint with_atoms=False) except *:
    """Checks the arrays' types, shapes and ranges; the view is valid as long as `neighbours` is. Atoms of centres and pairs only if
    they are asked for."""
    cdef int64_t n = _count(neighbours.centre_atom, "centre_atom")
    cdef int64_t n_pairs = _count(neighbours.neighbour_atom, "neighbour_atom")
    cdef const int32_t[::1] cs = _checked(neighbours.centre_species, np.int32, (n,), "centre_species")
    cdef const int64_t[::1] of = _rows(neighbours, n, n_pairs)
    cdef const int32_t[::1] ns = _checked(neighbours.neighbour_species, np.int32, (n_pairs,), "neighbour_species")
    cdef const double[:, ::1] v = _checked(neighbours.vectors, np.float64, (n_pairs, 3), "vectors")
    cdef const int64_t[::1] centre, other
    cdef int64_t i
    for i in range(n):
        if cs[i] < -1 or cs[i] >= n_species:
            raise InputError(f"centre_species holds {cs[i]}, expected -1 to {n_species - 1}")
    for i in range(n_pairs):
        if ns[i] < -1 or ns[i] >= n_species:
            raise InputError(f"neighbour_species holds {ns[i]}, expected -1 to {n_species - 1}")
    cdef System system
    system.neighbours.n_centres = n
    system.neighbours.centre_species = &cs[0] if n else NULL
    system.neighbours.offsets = &of[0]
    system.neighbours.neighbour_species = &ns[0] if n_pairs else NULL
    system.neighbours.vectors = &v[0, 0] if n_pairs else NULL
    system.n_atoms = 0
    system.centre_atom = NULL
    system.neighbour_atom = NULL
    if with_atoms:
        centre = _atoms(neighbours.centre_atom, neighbours.n_atoms, "centre_atom")
        other = _atoms(neighbours.neighbour_atom, neighbours.n_atoms, "neighbour_atom")
        system.n_atoms = neighbours.n_atoms
        system.centre_atom = &centre[0] if n else NULL
        system.neighbour_atom = &other[0] if n_pairs else NULL
    return system
