// What one neighbour changes in the density coefficients, for rows of a design matrix. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "density/density_expansion.hpp"

namespace soapgap {
namespace SOAPGAP_ISA {

// d(R_nl Y_lm)/dr = u R' Y + (1/r) R (1 - u u^T) grad Y of neighbour j, all (l, m, n): dc[xyz][n_c / n_channels], overwritten, laid
// out as one channel of c. scratch: expansion_scratch.
inline void neighbour_derivative(const DensityBasis &basis, const Environment &env, int group, int j,
                                 double *scratch, double *dc) {
  const Factors f = factors_in(basis, scratch);
  double *value = f.rest, *slope = f.rest + static_cast<std::ptrdiff_t>(basis.n_radial) * width;
  const double r[width] = {env.r[j], env.r[j], env.r[j], env.r[j]};
  const double u[3] = {env.x[j], env.y[j], env.z[j]};
  radial_columns(basis, group, r, value, slope);
  harmonics_factors(basis.harmonics, broadcast(u[0]), broadcast(u[1]), broadcast(u[2]), f.q, f.c, f.s);
  const std::ptrdiff_t plane = basis.n_c / basis.n_channels;
  for (int l = 0; l <= basis.l_max; ++l) {
    const Shell &shell = basis.shells[l];
    for (int m = -l; m <= l; ++m) {
      const int k = m < 0 ? -m : m;
      const double q = f.q[triangle(l, k)][0] * (m == 0 ? inverse_sqrt2 : 1.0);
      const double e = k < l ? basis.harmonics.e[triangle(l, k)] * (m == 0 ? inverse_sqrt2 : 1.0) : 0.0;
      const double q_up = k < l ? f.q[triangle(l, k + 1)][0] : 0.0;
      const double phase = m < 0 ? f.s[k][0] : f.c[k][0];
      const double c_down = k > 0 ? f.c[k - 1][0] : 0.0, s_down = k > 0 ? f.s[k - 1][0] : 0.0;
      double grad[3] = {q * k * (m < 0 ? s_down : c_down), q * k * (m < 0 ? c_down : -s_down), e * q_up * phase};
      const double along = grad[0] * u[0] + grad[1] * u[1] + grad[2] * u[2];
      double *row = dc + shell.c / basis.n_channels + static_cast<std::ptrdiff_t>(l + m) * shell.n_padded;
      for (int a = 0; a < 3; ++a) {
        const double tangent = (grad[a] - along * u[a]) / env.r[j], radial = q * phase * u[a];
        for (int n = 0; n < shell.n_padded; ++n)
          row[a * plane + n] =
              radial * slope[(shell.radial + n) * width] + tangent * value[(shell.radial + n) * width];
      }
    }
  }
}

}  // namespace SOAPGAP_ISA
}  // namespace soapgap
