// The loops of sources over the neighbours of one centre, chosen once for the CPU we run on. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "density/density_expansion.hpp"

namespace soapgap {

// Each is described where it is defined, in density_expansion.hpp and neighbour_derivative.hpp.
struct DensityLoops {
  std::ptrdiff_t (*expansion_scratch)(const DensityBasis &, int n);
  void (*expand_density)(const DensityBasis &, const Environment &, double *scratch, double *c);
  void (*pull_back_density)(const DensityBasis &, const Environment &, const double *g, double *scratch, double *gradients);
  void (*neighbour_derivative)(const DensityBasis &, const Environment &, int group, int j, double *scratch, double *dc);
};

const DensityLoops &density_loops();

}  // namespace soapgap
