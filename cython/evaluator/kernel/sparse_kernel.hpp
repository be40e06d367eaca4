// Features -> energy, and back: two matrix products per batch of centres. SPDX-License-Identifier: BSD-3-Clause
//
//   k_s = x . X_s + offset,   e = sum_s w_s k_s^zeta,   de/dx = sum_s w_s zeta k_s^(zeta-1) X_s      (w_s = delta^2 weights_s)
// The last n_single kept features may be multiplied in single precision (reduction.py says when that is harmless).
// form matrix, zeta = 2:  de/dx = 2 A x,  e = x . A x: one product
#pragma once

#include "base/buffer.hpp"
#include "model.hpp"

namespace soapgap {

// energies[n] are added to; de_dx[n][n_kept] is overwritten (null: energies only). x: [n][n_kept].
void sparse_kernel(const SoapTerm &, const double *x, int n, Buffer &scratch, double *energies, double *de_dx);

}  // namespace soapgap
