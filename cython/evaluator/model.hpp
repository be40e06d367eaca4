// What a model file holds, ready for evaluation. SPDX-License-Identifier: BSD-3-Clause
//
// The file is safetensors; all metadata is one canonical JSON string under the key `soapgap` (docs/model_file.md).
// This is its only reader: Python and LAMMPS both come through here.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "density/density_expansion.hpp"
#include "features/power_spectrum.hpp"
#include "soapgap.hpp"

namespace soapgap {

constexpr int model_format = 1;

// Tabulated functions as the file has them: [row][value, first, second derivative][function].
struct RadialTable {
  std::vector<Segment> segments;
  int n_functions = 0;
  std::vector<double> values;
  double stop() const { return segments.back().stop; }
};

// SOAP of one centre species with a polynomial kernel:  e = sum_s weights_s delta^2 (x . X_s + offset)^zeta,  x = p / |p|.
// form matrix (zeta = 2):  e = delta^2 x . A x,  A = sum_s weights_s X_s X_s^T in place of the points.
struct SoapTerm {
  SoapTerm() = default;
  SoapTerm(SoapTerm &&) = default;  // not copied: basis and spectrum point into the storage
  enum Form { points, merged_points, matrix } form = points;
  int centre;                         // species index
  std::vector<int> group_of_species;  // -1: not seen
  double zeta, delta;
  double offset = 0.0;                // added to every x . X_s
  int average = -1;                   // terms of the same number make one descriptor of the whole structure; -1: one per centre
  bool normalise;
  std::int64_t n_features;            // of the basis
  std::vector<std::int32_t> kept;     // the features that the kernel sees; empty: all
  std::int64_t n_kept;
  std::int64_t n_single = 0;          // so many of them, the last, are multiplied in single precision
  std::int64_t n_sparse;
  std::vector<double> sparse_points;  // [n_sparse][n_kept - n_single]; form matrix: A, [n_kept][n_kept]
  std::vector<float> single_points;   // [n_sparse][n_single]
  std::vector<double> scaled_weights; // [n_sparse], delta^2 weights; form matrix: empty, delta^2 is in A
  DensityBasis basis;                 // points into the storage below
  PowerSpectrum spectrum;
  std::unique_ptr<SoapTerm> reduced;  // the same function at less cost (docs/performance.md); evaluation uses it
  const SoapTerm &for_evaluation() const { return reduced ? *reduced : *this; }
  // storage
  std::vector<Segment> segments;
  std::vector<Shell> shells;
  std::vector<double> table, centre_values, harmonics_a, harmonics_b, harmonics_e, factor;
  std::vector<int> row_of, row_start, block_of;
  std::vector<ChannelPair> pairs;
};

// e_i = sum over neighbours j of V(r_ij), for one unordered pair of species.
struct PairTerm {
  int first, second;
  double cutoff;
  RadialTable table;
};

// e_i = count sum over unordered pairs of neighbours {j, k} of  f(r_ij) f(r_ik) (1 - third_cutoff f(r_jk)) u(x),
//   u = sum_s weights_s k(x, X_s),   f = the cosine cutoff function,
// k the kernel with delta^2, f0^2 and its normalisation over permutations (triplet_term.hpp).
struct TripletTerm {
  enum Geometry { distances, angle } geometry;
  enum Kernel { ard_se, piecewise_polynomial, dot_product } kernel;
  int centre, first, second;  // species; x has the neighbours in this order
  double cutoff, width;
  double delta, f0, zeta, theta[3];
  double count, third_cutoff;
  bool shared;                         // by thirds among the three atoms, instead of the centre having it all
  std::vector<int> permutations;       // [n_permutations][3]
  std::int64_t n_sparse;
  std::vector<double> points;          // [3][n_sparse] X / theta (dot_product: X)
  std::vector<double> scaled_weights;  // [n_sparse] what multiplies the unnormalised kernel
  double constant;                     // f0^2 sum_s weights_s
  // u in quintic B-splines on a grid of x, if the model has it
  struct Grid {
    double h[3];
    int n[3];                    // coefficients along each axis
    std::vector<double> values;  // [n0][n1][n2], and a few numbers that are read but not used
  };
  std::unique_ptr<Grid> grid;
};

// e_i = U(rho_i), rho_i = sum over neighbours j of n_j(r_ij); U goes on in straight lines at both ends of its table.
struct EmbeddingTerm {
  int centre;
  double cutoff;
  std::vector<RadialTable> density;  // of each species of the model; no segments: none
  RadialTable energy;
};

struct TermPlace {
  enum Kind { soap, pair, triplet, embedding } kind;
  int index;
};

struct ModelData {
  std::string metadata;
  std::vector<std::string> species;
  std::vector<double> e0;
  double cutoff = 0.0;
  bool shares_energy = false;  // a term gives part of its energy to neighbours
  bool whole_structure = false;  // a term needs all atoms at once
  bool needs_order = false;    // a term tells two like neighbours apart by their order
  std::vector<TermPlace> terms;  // in the order of the file
  std::vector<SoapTerm> soap_terms;
  std::vector<PairTerm> pair_terms;
  std::vector<TripletTerm> triplet_terms;
  std::vector<EmbeddingTerm> embedding_terms;
  std::vector<External> external;
};

}  // namespace soapgap
