// Loops over plain rows of numbers, chosen once for the CPU we run on. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>

namespace soapgap {

struct RowLoops {
  const char *name;  // of the instruction set: "baseline", "avx2", "avx512"
  double (*dot)(const double *a, const double *b, std::ptrdiff_t n);
  // out = scale (v - along x)
  void (*subtract_and_scale)(const double *v, double along, const double *x, double scale, std::ptrdiff_t n, double *out);
  // out += scale x
  void (*add_scaled)(double scale, const double *x, std::ptrdiff_t n, double *out);
  // targets[t][n] += scales[t] x for each of n_targets rows
  void (*add_to_each)(const double *x, std::ptrdiff_t n, int n_targets, const double *scales, double *const *targets);
  void (*narrow)(const double *from, std::ptrdiff_t n, float *to);
  void (*add_widened)(const float *from, std::ptrdiff_t n, double *to);
};

// The fastest set this CPU has; SOAPGAP_ISA=baseline|avx2|avx512 in the environment asks for a lesser one (for tests).
const RowLoops &row_loops();

}  // namespace soapgap
