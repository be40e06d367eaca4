// The kernel of distance_2b for a row of sparse points. SPDX-License-Identifier: BSD-3-Clause
//
//   k_s(r) = f_c(r) F_s delta^2 exp(-(r - X_s)^2 / (2 theta^2))
// (A. P. Bartok and G. Csanyi, Int. J. Quantum Chem. 115, 1051 (2015))
#pragma once

#include "base/exponential.hpp"

namespace soapgap {

// Plain data that the hot loop reads; pointers into a PairTerm.
struct PairKernel {
  double theta;
  std::ptrdiff_t n_points;  // padded to the vector width with points of factor 0
  const double *points;     // [n_points] X_s, Angstrom
  const double *factors;    // [n_points] F_s delta^2
};

namespace SOAPGAP_ISA {

// value[n_points] = k_s and slope[n_points] = dk_s/dr, overwritten; f, df: the cutoff function and its derivative at r.
inline void gaussian_row(const PairKernel &kernel, double r, double f, double df, double *value, double *slope) {
  const double inverse = 1.0 / kernel.theta;
  for (std::ptrdiff_t s = 0; s < kernel.n_points; s += width) {
    const Vec u = (broadcast(r) - load(kernel.points + s)) * broadcast(inverse);
    const Vec g = load(kernel.factors + s) * exp_of_negative(broadcast(-0.5) * u * u);
    store(value + s, broadcast(f) * g);
    store(slope + s, (broadcast(df) - broadcast(f * inverse) * u) * g);
  }
}

}  // namespace SOAPGAP_ISA
}  // namespace soapgap
