// The loops of terms of few bodies, chosen once for the CPU we run on. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "terms/pair_kernel.hpp"
#include "terms/triplet_kernel.hpp"
#include "terms/triplet_row.hpp"

namespace soapgap {

// Each is described where it is defined, in pair_kernel.hpp, triplet_kernel.hpp and triplet_row.hpp.
struct FewBodyLoops {
  void (*gaussian_row)(const PairKernel &, double r, double f, double df, double *value, double *slope);
  void (*triplet_value)(const TripletKernel &, const double *r, double *out);
  void (*self_similarity)(const TripletKernel &, const double *x, double *out);
  void (*triplet_row)(const TripletKernel &, const double *r, double *value, double *slope);
  void (*add_triplet_row)(std::ptrdiff_t n, const TripletPull &, const double *value, const double *slope, double *energy,
                          double *first, double *second);
};

const FewBodyLoops &few_body_loops();

}  // namespace soapgap
