// SPDX-License-Identifier: BSD-3-Clause
#include "kernel/sparse_kernel.hpp"

#include <algorithm>

#include "base/blas.hpp"
#include "simd/dispatch.hpp"

namespace soapgap {
namespace {

constexpr std::int64_t block = 2048;  // sparse points at a time: bounds the scratch, long enough for dgemm

void matrix_kernel(const SoapTerm &term, const double *x, int n, Buffer &scratch, double *energies, double *de_dx) {
  const std::int64_t d = term.n_kept;
  double *ax = de_dx ? de_dx : scratch.reserve(n * d);
  gemm(false, n, d, d, x, d, term.sparse_points.data(), d, 0.0, ax, d);
  for (int i = 0; i < n; ++i) {
    energies[i] += kernels().dot(x + i * d, ax + i * d, d);
    for (std::int64_t k = 0; k < d; ++k) ax[i * d + k] *= 2.0;
  }
}

// The share of the small features, in single precision: their products are so small that its rounding does not count.
class SinglePart {
 public:
  SinglePart(const SoapTerm &term, const double *x, int n, std::int64_t m_max, float *scratch)
      : term_(term), n_(n), x_(scratch), k_(x_ + n * term.n_single), de_dx_(k_ + n * m_max) {
    const std::int64_t d = term.n_kept, first = d - term.n_single;
    for (int i = 0; i < n; ++i) kernels().narrow(x + i * d + first, term.n_single, x_ + i * term.n_single);
  }
  static std::size_t scratch_floats(const SoapTerm &term, int n, std::int64_t m_max) {
    return static_cast<std::size_t>(n) * static_cast<std::size_t>(2 * term.n_single + m_max);
  }
  // k[n][m] += x . X_s for m points from `first` on
  void add_products(std::int64_t first, std::int64_t m, double *k) {
    const std::int64_t d = term_.n_single;
    gemm(true, n_, m, d, x_, d, term_.single_points.data() + first * d, d, 0.0f, k_, m);
    kernels().add_widened(k_, n_ * m, k);
  }
  // de/dx += slopes[n][m] X
  void add_derivatives(std::int64_t first, std::int64_t m, const double *slopes) {
    const std::int64_t d = term_.n_single;
    kernels().narrow(slopes, n_ * m, k_);
    gemm(false, n_, d, m, k_, m, term_.single_points.data() + first * d, d, first == 0 ? 0.0f : 1.0f, de_dx_, d);
  }
  void store(double *de_dx) const {
    const std::int64_t d = term_.n_kept, first = d - term_.n_single;
    for (int i = 0; i < n_; ++i) {
      double *row = de_dx + i * d + first;
      std::fill(row, row + term_.n_single, 0.0);
      kernels().add_widened(de_dx_ + i * term_.n_single, term_.n_single, row);
    }
  }

 private:
  const SoapTerm &term_;
  const int n_;
  float *x_, *k_, *de_dx_;  // [n][n_single], [n][points of a block], [n][n_single]
};

}  // namespace

void sparse_kernel(const SoapTerm &term, const double *x, int n, Buffer &scratch, double *energies, double *de_dx) {
  if (term.form == SoapTerm::matrix) return matrix_kernel(term, x, n, scratch, energies, de_dx);
  const std::int64_t d = term.n_kept, d_double = d - term.n_single;
  const std::int64_t m_max = std::min(block, std::max<std::int64_t>(term.n_sparse, 1));
  const std::size_t n_k = static_cast<std::size_t>(n) * m_max;
  double *k = scratch.reserve(n_k + (SinglePart::scratch_floats(term, n, m_max) + 1) / 2);
  SinglePart single(term, x, n, m_max, reinterpret_cast<float *>(k + n_k));
  if (de_dx && term.n_sparse == 0) std::fill(de_dx, de_dx + n * d, 0.0);
  for (std::int64_t first = 0; first < term.n_sparse; first += block) {
    const std::int64_t m = std::min(block, term.n_sparse - first);
    const double *points = term.sparse_points.data() + first * d_double, *w = term.scaled_weights.data() + first;
    gemm(true, n, m, d_double, x, d, points, d_double, 0.0, k, m);
    if (term.n_single > 0) single.add_products(first, m, k);
    if (term.offset != 0.0)
      for (std::int64_t at = 0; at < n * m; ++at) k[at] += term.offset;
    for (int i = 0; i < n; ++i) energies[i] += kernels().polynomial_kernel(k + i * m, w, term.zeta, m);
    if (!de_dx) continue;
    gemm(false, n, d_double, m, k, m, points, d_double, first == 0 ? 0.0 : 1.0, de_dx, d);
    if (term.n_single > 0) single.add_derivatives(first, m, k);
  }
  if (de_dx && term.n_single > 0 && term.n_sparse > 0) single.store(de_dx);
}

}  // namespace soapgap
