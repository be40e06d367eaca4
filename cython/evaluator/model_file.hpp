// What a model file holds, ready for evaluation. SPDX-License-Identifier: BSD-3-Clause
//
// The file is safetensors; all metadata is one canonical JSON string under the key `soapgap` (docs/model_file.md).
// This is its only reader: Python and LAMMPS both come through here.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "density_expansion.hpp"
#include "power_spectrum.hpp"

namespace soapgap {

constexpr int model_format = 1;

// Tabulated functions as the file has them: [row][value, first, second derivative][function].
struct RadialTable {
  std::vector<Segment> segments;
  int n_functions = 0;
  std::vector<double> values;
  double stop() const { return segments.back().stop; }
};

// SOAP of one centre species with a polynomial kernel:  e = sum_s weights_s delta^2 (x . X_s)^zeta,  x = p / |p|.
// form matrix (zeta = 2):  e = delta^2 x . A x,  A = sum_s weights_s X_s X_s^T in place of the points.
struct SoapTerm {
  SoapTerm() = default;
  SoapTerm(SoapTerm &&) = default;  // not copied: basis and spectrum point into the storage
  enum Form { points, merged_points, matrix } form = points;
  int centre;                           // species index
  std::vector<int> channel_of_species;  // -1: not seen
  double zeta, delta;
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
  std::vector<int> row_of, row_start;
};

// e_i = sum over neighbours j of V(r_ij), for one unordered pair of species.
struct PairTerm {
  int first, second;
  double cutoff;
  RadialTable table;
};

struct TermPlace {
  enum Kind { soap, pair } kind;
  int index;
};

struct ModelData {
  std::string metadata;
  std::vector<std::string> species;
  std::vector<double> e0;
  double cutoff = 0.0;
  std::vector<TermPlace> terms;  // in the order of the file
  std::vector<SoapTerm> soap_terms;
  std::vector<PairTerm> pair_terms;
};

}  // namespace soapgap
