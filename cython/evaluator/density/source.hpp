// Where density coefficients come from: tables of radial functions of one neighbour. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <vector>

#include "base/coefficients.hpp"
#include "density/density_expansion.hpp"
#include "density/tabulated.hpp"

namespace soapgap {

// What the tables and channels of a source are like, as the file says it.
struct SourceShape {
  std::vector<int> group_of_species;  // the group of neighbours that each species of the model is in; -1: not seen
  std::vector<int> n_of_l;            // radial functions of each l
  int n_channels = 0;
  std::vector<int> block_of;          // the channel that each group adds to
  bool table_per_group = false;       // or one table for all
};

// c of one centre from its neighbours, and back: `density_loops()` with `basis`.
struct Source {
  Source() = default;
  Source(Source &&) = default;  // not copied: basis points into the storage
  Source &operator=(Source &&) = default;
  std::vector<int> group_of_species;
  CoefficientLayout layout;
  DensityBasis basis;
  // storage
  std::vector<Segment> segments;
  std::vector<double> table, centre_values, harmonics_a, harmonics_b, harmonics_e;
  std::vector<int> block_of;
};

// The table holds its values l by l, once or group by group; centre_values: [n_channels][n_of_l[0]], what every centre adds to
// its own c_{I,00}.
Source make_source(const SourceShape &, const RadialTable &, const std::vector<double> &centre_values);

}  // namespace soapgap
