// SPDX-License-Identifier: BSD-3-Clause
#include "sparse_kernel.hpp"

#include <algorithm>
#include <cmath>

#include "blas.hpp"

namespace soapgap {

double power(double k, double zeta) {
  const int whole = static_cast<int>(zeta);
  if (whole != zeta || whole > 32) return std::pow(k > 0.0 ? k : 0.0, zeta);
  double result = 1.0;
  for (int n = whole; n > 0; n >>= 1, k *= k)
    if (n & 1) result *= k;
  return result;
}

void sparse_kernel(const SoapTerm &term, const double *x, int n, Buffer &scratch, double *energies, double *de_dx) {
  const std::int64_t d = term.n_features;
  const std::int64_t block = 2048;  // sparse points at a time: bounds the scratch, long enough for dgemm
  double *k = scratch.reserve(static_cast<std::size_t>(n) * std::min(block, std::max<std::int64_t>(term.n_sparse, 1)));
  if (de_dx && term.n_sparse == 0) std::fill(de_dx, de_dx + n * d, 0.0);
  for (std::int64_t first = 0; first < term.n_sparse; first += block) {
    const std::int64_t m = std::min(block, term.n_sparse - first);
    const double *points = term.sparse_points.data() + first * d, *w = term.scaled_weights.data() + first;
    gemm(true, n, m, d, x, d, points, d, 0.0, k, m);
    for (int i = 0; i < n; ++i) {
      double *row = k + i * m, sum = 0.0;
      for (std::int64_t s = 0; s < m; ++s) {
        const double slope = w[s] * power(row[s], term.zeta - 1.0);
        sum += slope * row[s];
        row[s] = term.zeta * slope;
      }
      energies[i] += sum;
    }
    if (de_dx) gemm(false, n, d, m, k, m, points, d, first == 0 ? 0.0 : 1.0, de_dx, d);
  }
}

}  // namespace soapgap
