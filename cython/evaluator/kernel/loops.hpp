// The loops of kernels over a row of sparse points, chosen once for the CPU we run on. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "kernel/polynomial_kernel.hpp"

namespace soapgap {

// Each is described where it is defined, in polynomial_kernel.hpp.
struct KernelLoops {
  double (*power)(double k, double zeta);
  double (*polynomial_kernel)(double *k, const double *w, double zeta, std::ptrdiff_t n);
  void (*polynomial_powers)(double *k, const double *w, double zeta, std::ptrdiff_t n, double *powers);
};

const KernelLoops &kernel_loops();

}  // namespace soapgap
