// Features -> energy, and back: two matrix products per batch of centres. SPDX-License-Identifier: BSD-3-Clause
//
//   k_s = x . X_s,   e = sum_s w_s k_s^zeta,   de/dx = sum_s w_s zeta k_s^(zeta-1) X_s      (w_s = delta^2 weights_s)
#pragma once

#include "buffer.hpp"
#include "model_file.hpp"

namespace soapgap {

// k^zeta for k >= 0; whole zeta by multiplication. A k below 0 comes from rounding only (p . p' >= 0) unless zeta is whole.
double power(double k, double zeta);

// energies[n] are added to; de_dx[n][n_features] is overwritten (null: energies only). x: [n][n_features].
void sparse_kernel(const SoapTerm &, const double *x, int n, Buffer &scratch, double *energies, double *de_dx);

}  // namespace soapgap
