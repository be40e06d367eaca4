// SPDX-License-Identifier: BSD-3-Clause
#include "sparse_kernel.hpp"

#include <algorithm>
#include <cmath>

#include "blas.hpp"
#include "kernels.hpp"

namespace soapgap {

static void matrix_kernel(const SoapTerm &term, const double *x, int n, Buffer &scratch, double *energies, double *de_dx) {
  const std::int64_t d = term.n_kept;
  double *ax = de_dx ? de_dx : scratch.reserve(n * d);
  gemm(false, n, d, d, x, d, term.sparse_points.data(), d, 0.0, ax, d);
  for (int i = 0; i < n; ++i) {
    energies[i] += kernels().dot(x + i * d, ax + i * d, d);
    for (std::int64_t k = 0; k < d; ++k) ax[i * d + k] *= 2.0;
  }
}

void sparse_kernel(const SoapTerm &term, const double *x, int n, Buffer &scratch, double *energies, double *de_dx) {
  if (term.form == SoapTerm::matrix) return matrix_kernel(term, x, n, scratch, energies, de_dx);
  const std::int64_t d = term.n_kept;
  const std::int64_t block = 2048;  // sparse points at a time: bounds the scratch, long enough for dgemm
  double *k = scratch.reserve(static_cast<std::size_t>(n) * std::min(block, std::max<std::int64_t>(term.n_sparse, 1)));
  if (de_dx && term.n_sparse == 0) std::fill(de_dx, de_dx + n * d, 0.0);
  for (std::int64_t first = 0; first < term.n_sparse; first += block) {
    const std::int64_t m = std::min(block, term.n_sparse - first);
    const double *points = term.sparse_points.data() + first * d, *w = term.scaled_weights.data() + first;
    gemm(true, n, m, d, x, d, points, d, 0.0, k, m);
    for (int i = 0; i < n; ++i) energies[i] += kernels().polynomial_kernel(k + i * m, w, term.zeta, m);
    if (de_dx) gemm(false, n, d, m, k, m, points, d, first == 0 ? 0.0 : 1.0, de_dx, d);
  }
}

}  // namespace soapgap
