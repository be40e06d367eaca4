# The C++ surface that the Cython face uses; conventions are in evaluator/soapgap.hpp.
from cpython.ref cimport PyObject
from libc.stdint cimport int32_t, int64_t
from libcpp.string cimport string
from libcpp.utility cimport pair
from libcpp.vector cimport vector


cdef extern from *:
    """
    #include <Python.h>
    #include <new>
    #include "soapgap.hpp"
    // The evaluator's own errors become soapgap.errors.InputError, with their message.
    static PyObject *soapgap_input_error = nullptr;
    static void soapgap_raise() {
      try { throw; }
      catch (const soapgap::Error &e) { PyErr_SetString(soapgap_input_error, e.what()); }
      catch (const std::bad_alloc &) { PyErr_NoMemory(); }
      catch (const std::exception &e) { PyErr_SetString(PyExc_RuntimeError, e.what()); }
    }
    """
    PyObject *soapgap_input_error
    void soapgap_raise()


cdef extern from "soapgap.hpp" namespace "soapgap" nogil:
    cdef cppclass CNeeds "soapgap::Needs":
        bint sums
        bint order
        bint handed
        bint positions

    cdef cppclass PropertyInfo:
        string name
        string unit
        string irreps
        int n_out

    cdef cppclass Model:
        Model() except +soapgap_raise
        @staticmethod
        Model from_bytes(const char *bytes, size_t n_bytes) except +soapgap_raise
        const vector[string] &species()
        double cutoff()
        int n_terms()
        CNeeds needs()
        const vector[PropertyInfo] &properties()
        const string &metadata()

    cdef cppclass Neighbours:
        int64_t n_centres
        const int32_t *centre_species
        const int64_t *offsets
        const int32_t *neighbour_species
        const double *vectors

    cdef cppclass System:
        Neighbours neighbours
        int64_t n_atoms
        const int64_t *centre_atom
        const int64_t *neighbour_atom

    cdef cppclass Outputs:
        int property
        double *values
        double *handed

    cdef cppclass Adjoint:
        const double *values
        int output
        double *pairs

    cdef cppclass Rows:
        double *energy
        double *gradients
        double *strain
        double *local

    cdef cppclass Workspace:
        Workspace(int n_threads) except +soapgap_raise
        int n_threads()
        vector[pair[string, double]] profile()

    void c_evaluate "soapgap::evaluate"(const Model &, Workspace &, const System &, const double *, const Outputs &,
                                        const Adjoint *) except +soapgap_raise
    int64_t n_sums(const Model &)
    void c_accumulate "soapgap::accumulate"(const Model &, Workspace &, const System &, double *) except +soapgap_raise
    void c_rows "soapgap::rows"(const Model &, Workspace &, int, const System &, const Rows &) except +soapgap_raise
    int64_t n_sparse(const Model &, int) except +soapgap_raise
    void add_forces(const Neighbours &, const double *, const int64_t *, const int64_t *, double *, double *)
    int64_t n_features(const Model &, int) except +soapgap_raise
    void density_coefficients(const Model &, Workspace &, int, const Neighbours &, double *) except +soapgap_raise
    void features(const Model &, Workspace &, int, const Neighbours &, double *) except +soapgap_raise
    void c_sort_pairs "soapgap::sort_pairs"(int64_t, int64_t, const int64_t *, const int64_t *, const int32_t *, int64_t *, int64_t *,
                    int64_t *) except +soapgap_raise
    void c_pair_vectors "soapgap::pair_vectors"(int64_t, const int64_t *, const int64_t *, const int64_t *, const int64_t *, const double *,
                      const double *, double *)
