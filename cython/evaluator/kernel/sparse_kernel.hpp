// Features -> outputs, and back: two matrix products per batch of centres. SPDX-License-Identifier: BSD-3-Clause
//
//   k_s = x . X_s + offset,   v_o = sum_s w_os k_s^zeta,   dv_o/dx = sum_s w_os zeta k_s^(zeta-1) X_s      (w = delta^2 weights)
// The last n_single components of x may be multiplied in single precision (reduction/ says when that is harmless).
// As a matrix, zeta = 2:  v_o = x . A_o x,  dv_o/dx = 2 A_o x: one product for each output
#pragma once

#include <cstdint>
#include <vector>

#include "base/buffer.hpp"

namespace soapgap {

struct Kernel {
  bool matrix = false;              // the A_o in place of the points
  double zeta = 1.0, offset = 0.0;
  double delta2 = 1.0;              // delta^2, a factor of `weights` already
  int n_out = 1;
  std::int64_t n_in = 0;            // components of x
  std::int64_t n_single = 0;        // so many of them, the last, are multiplied in single precision
  std::int64_t n_sparse = 0;
  std::vector<double> points;       // [n_sparse][n_in - n_single]; matrix: [n_out][n_in][n_in], delta^2 included
  std::vector<float> single_points; // [n_sparse][n_single]
  std::vector<double> weights;      // [n_out][n_sparse], delta^2 included; matrix: empty
};

// values[n][n_out] are added to, for x[n][n_in]. dl_dx[n][n_in], if not null, is overwritten with the derivative of
// L = sum over centres and outputs of adjoint[n][n_out] v; without an adjoint of L = sum over centres of output number `output`.
void sparse_kernel(const Kernel &, const double *x, int n, Buffer &scratch, double *values, double *dl_dx,
                   const double *adjoint = nullptr, int output = 0);

// k_s = delta^2 (x . X_s + offset)^zeta of one x, [n_sparse], and slope_s = dk_s/d(x . X_s); both overwritten. In double
// precision only.
void kernel_row(const Kernel &, const double *x, double *k, double *slope);

}  // namespace soapgap
