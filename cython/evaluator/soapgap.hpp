// soapgap: the public surface of the evaluator. SPDX-License-Identifier: BSD-3-Clause
//
// A model is read once, from bytes; `evaluate` turns flat neighbour arrays into outputs of centres (energies, and whatever
// other properties the model has) and pulls a derivative with respect to them back to the neighbour vectors. Everything else
// is a host's business.
//
// Conventions (stated here, once)
//   units       energies eV, lengths Angstrom, gradients eV/Angstrom, virials eV
//   vectors     r_ij = r_j - r_i, one for every periodic image j of a neighbour of centre i (a full list)
//   energy      E = sum_i e_i, e_i the energy of centre i
//   gradients   g_ij = d e_i / d r_ij
//   forces      F_i += g_ij,  F_j -= g_ij
//   virial      W_ab -= r_ij,a g_ij,b  =  -dE/d(strain_ab); a positive trace wants to expand
//   species     an index into Model::species(); -1 means "not a species of this model": such a centre has no
//               energy, such a neighbour is not seen
//   harmonics   real Y_lm, ordered l = 0..l_max, then m = -l..l
//   channels    I = (neighbour species) * n_max + n, n = 0..n_max-1
//   features    p_l,IJ with l slowest, then I, then J = 0..I (fastest); length (l_max+1) N (N+1) / 2
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace soapgap {

// Any failure: a message that says what, what was got, what was expected and what to do.
class Error : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct ModelData;       // properties and their terms (model.hpp)
struct WorkspaceData;   // per-thread buffers (base/workspace.hpp)

// A potential of another program that is part of a model and that `evaluate` knows nothing of: the host adds it or refuses.
struct External {
  std::string kind;  // "lammps" or "ase"
  std::string name;  // the pair style with its arguments; module:class of the calculator
};

// What a model asks of its host beyond neighbours.
struct Needs {
  // Sums over all centres of a structure come first (GAP's average=T): see `accumulate`.
  bool sums = false;
  // A term's kernel tells two like neighbours apart (QUIP's distance_Nb does so by mistake): the neighbours of a centre must
  // then come in the order of their atoms' numbers, images of one atom in that of their cell's indices.
  bool order = false;
  // Some of e_i belongs to neighbours: see Outputs::handed.
  bool handed = false;
  // Positions and cell of a System are read.
  bool positions = false;
};

// A named set of outputs of every centre; the sum over centres is the quantity of the structure.
struct PropertyInfo {
  std::string name, unit;  // "energy", "eV"
  std::string irreps;      // how the outputs turn with the structure; "0e": not at all
  int n_out;
};

// An immutable model. Copies share the data; safe to use from many threads.
class Model {
 public:
  // Reads a whole model file from memory, checks it (structure, versions, checksum, finite numbers).
  // for_evaluation: points that only training reads, because a reduced form replaces them, are not kept.
  static Model from_bytes(const char *bytes, std::size_t n_bytes, bool for_evaluation = false);

  const std::vector<std::string> &species() const;   // chemical symbols
  int species_index(const std::string &symbol) const; // -1 if absent
  double cutoff() const;                              // Angstrom; the largest of all terms
  int n_terms() const;                                // of all properties together
  Needs needs() const;
  const std::vector<PropertyInfo> &properties() const;
  const std::vector<External> &external() const;      // what else belongs to the energy
  const std::string &metadata() const;                // the canonical JSON string of the file
  const ModelData &data() const { return *data_; }

 private:
  std::shared_ptr<const ModelData> data_;
};

// Neighbours of n_centres centres in compressed rows: those of centre i are entries offsets[i] .. offsets[i+1]-1.
struct Neighbours {
  std::int64_t n_centres = 0;
  const std::int32_t *centre_species = nullptr;     // [n_centres]
  const std::int64_t *offsets = nullptr;            // [n_centres + 1], offsets[0] may be non-zero
  const std::int32_t *neighbour_species = nullptr;  // [offsets[n_centres]]
  const double *vectors = nullptr;                  // [offsets[n_centres]][3] r_ij in Angstrom; r >= cutoff contributes nothing
};

// A structure, or a part of one: centres with their neighbours. The rest may be null unless it is asked for by name.
struct System {
  Neighbours neighbours;
  std::int64_t n_atoms = 0;
  const std::int64_t *centre_atom = nullptr;     // [n_centres] index of an atom
  const std::int64_t *neighbour_atom = nullptr;  // [n_pairs]
  const double *positions = nullptr;             // [n_atoms][3] Angstrom
  const double *cell = nullptr;                  // [3][3], rows are lattice vectors
};

// Where the outputs of one property go; n_out is the property's.
struct Outputs {
  int property = 0;          // its place in Model::properties()
  double *values = nullptr;  // [n_centres][n_out], overwritten
  // [n_pairs][n_out], overwritten if not null: what each centre hands over to the atom of the pair (terms that are shared by
  // three atoms); `values` then are what the centres keep, otherwise all.
  double *handed = nullptr;
};

// The derivative of a number L with respect to the structure. What is handed over counts as the centre's own here.
struct Adjoint {
  const double *values = nullptr;  // dL/d(values), [n_centres][n_out]; null: L is the sum of output number `output` over centres
  int output = 0;
  double *pairs = nullptr;         // [n_pairs][3] dL/dr_ij, overwritten (absent or distant neighbours: zeros)
  double *atoms = nullptr;         // [n_atoms][3] what dL/dR has beside the pairs, overwritten; no term has any so far
  double *strain = nullptr;        // [9] likewise dL/d(strain)
};

// Buffers that calls reuse, for up to n_threads threads. One evaluate at a time per workspace.
class Workspace {
 public:
  explicit Workspace(int n_threads = 1);
  ~Workspace();
  Workspace(const Workspace &) = delete;
  Workspace &operator=(const Workspace &) = delete;
  int n_threads() const;
  // With SOAPGAP_PROFILE=1 in the environment when it was made: seconds in each phase of the soap terms, over all threads; otherwise empty.
  std::vector<std::pair<std::string, double>> profile() const;
  WorkspaceData &data() { return *data_; }

 private:
  std::unique_ptr<WorkspaceData> data_;
};

// Outputs of a property and, if `adjoint` is not null, their pull-back. With Adjoint::values null that is one fused pass: for
// n_out = 1 the energy and its gradients. For a given number of threads the result is the same bit for bit, however they are
// scheduled. `sums`: those of the whole structure, from `accumulate`; null: made here, if the model needs any, and then the
// neighbours must be those of a whole structure (and with Adjoint::values they must be so in any case).
void evaluate(const Model &, Workspace &, const System &, const double *sums, const Outputs &, const Adjoint *adjoint = nullptr);

// What must be summed over all centres of a structure before any of them can be evaluated, [n_sums], added to: a host that cuts
// a structure into pieces adds it up over them. n_sums = 0: nothing.
std::int64_t n_sums(const Model &);
void accumulate(const Model &, Workspace &, const System &, double *sums);

// Adds what the pair gradients mean for atoms: forces[n_atoms][3] += and virial[9] (row-major W_ab) +=.
// centre_atom[n_centres] and neighbour_atom[n_pairs] are indices of atoms.
void add_forces(const Neighbours &, const double *gradients, const std::int64_t *centre_atom,
                const std::int64_t *neighbour_atom, double *forces, double *virial);

// ---- what a host with positions and a cell needs to make Neighbours ---------------------------------------------
// Pairs are r_ij = r_j - r_i + shift . cell, with shift a triple of integers and the rows of `cell` lattice vectors.

// A full list from pairs that are given once: (i, j, shift) stands for (j, i, -shift) as well. Sorted by i, then j, then shift:
// offsets[n_atoms + 1], neighbour[2 n_given] and sorted_shift[2 n_given][3] are overwritten. i and j run from 0 to n_atoms - 1.
void sort_pairs(std::int64_t n_atoms, std::int64_t n_given, const std::int64_t *i, const std::int64_t *j,
                const std::int32_t *shift, std::int64_t *offsets, std::int64_t *neighbour, std::int64_t *sorted_shift);

// Overwrites vectors[n_pairs][3] with r_ij for rows of pairs; centre c is atom centre_atom[c]. positions[n_atoms][3].
void pair_vectors(std::int64_t n_centres, const std::int64_t *centre_atom, const std::int64_t *offsets,
                  const std::int64_t *neighbour, const std::int64_t *shift, const double *positions, const double *cell,
                  double *vectors);

// ---- what training and tests need of one term; terms of all properties are counted in the order of the file ----

// Rows of the design matrix of one structure: K_s, how much the sum over centres of the term's output changes with the weight of
// sparse point s,
//   soap     K_s = sum over centres of delta^2 (x . X_s + offset)^zeta
//   pair     K_s = sum over ordered pairs of f_c(r) F_s delta^2 exp(-(r - X_s)^2 / 2 theta^2)
//   triplet  K_s = sum over triplets of their cutoff functions times F_s k(x, X_s)
// All are added to; null ones, but for the first, are not made. n_atoms, centre_atom and neighbour_atom of the System are read.
struct Rows {
  double *energy = nullptr;     // [n_sparse] K_s
  double *gradients = nullptr;  // [3 n_atoms][n_sparse] dK_s / dR_{atom,xyz}
  double *strain = nullptr;     // [6][n_sparse] dK_s / d strain, xx yy zz yz xz xy, symmetrised
  double *local = nullptr;      // [n_atoms][n_sparse] the part of each atom, what it is handed by others included
};

// Runs on the calling thread; use one workspace per thread. Errors: a term without sparse points, or without the numbers of its
// kernel.
void rows(const Model &, Workspace &, int term, const System &, const Rows &);

std::int64_t n_sparse(const Model &, int term);  // 0 for terms that have no sparse points

// The rest is for `soap` terms, and for the centres whose species is the term's, in the order of the list.
std::int64_t n_features(const Model &, int term);

// Density coefficients c[row][lm][channel], overwritten.
void density_coefficients(const Model &, Workspace &, int term, const Neighbours &, double *c);

// Features x[row][n_features] = p / |p| (p itself if the term is not normalised; 0 where |p| = 0), overwritten.
void features(const Model &, Workspace &, int term, const Neighbours &, double *x);

}  // namespace soapgap
