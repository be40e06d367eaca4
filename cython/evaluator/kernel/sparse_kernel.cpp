// SPDX-License-Identifier: BSD-3-Clause
#include "kernel/sparse_kernel.hpp"

#include <algorithm>

#include "base/blas.hpp"
#include "base/loops.hpp"
#include "kernel/loops.hpp"

namespace soapgap {
namespace {

constexpr std::int64_t block = 2048;  // sparse points at a time: bounds the scratch, long enough for dgemm

void matrix_kernel(const Kernel &kernel, const double *x, int n, Buffer &scratch, double *values, double *dl_dx,
                   const double *adjoint, int output) {
  const std::int64_t d = kernel.n_in;
  const bool direct = dl_dx && kernel.n_out == 1 && !adjoint;  // A x is the derivative but for a factor
  double *ax = direct ? dl_dx : scratch.reserve(n * d);
  if (dl_dx && !direct) std::fill(dl_dx, dl_dx + n * d, 0.0);
  for (int o = 0; o < kernel.n_out; ++o) {
    gemm(false, n, d, d, x, d, kernel.points.data() + o * d * d, d, 0.0, ax, d);
    for (int i = 0; i < n; ++i) {
      values[i * kernel.n_out + o] += row_loops().dot(x + i * d, ax + i * d, d);
      const double pull = adjoint ? adjoint[i * kernel.n_out + o] : o == output ? 1.0 : 0.0;
      if (direct)
        for (std::int64_t k = 0; k < d; ++k) ax[i * d + k] *= 2.0;
      else if (dl_dx && pull != 0.0)
        row_loops().add_scaled(2.0 * pull, ax + i * d, d, dl_dx + i * d);
    }
  }
}

// The share of the small features, in single precision: their products are so small that its rounding does not count.
class SinglePart {
 public:
  SinglePart(const Kernel &kernel, const double *x, int n, std::int64_t m_max, float *scratch)
      : kernel_(kernel), n_(n), x_(scratch), k_(x_ + n * kernel.n_single), dl_dx_(k_ + n * m_max) {
    const std::int64_t d = kernel.n_in, first = d - kernel.n_single;
    for (int i = 0; i < n; ++i) row_loops().narrow(x + i * d + first, kernel.n_single, x_ + i * kernel.n_single);
  }
  static std::size_t scratch_floats(const Kernel &kernel, int n, std::int64_t m_max) {
    return static_cast<std::size_t>(n) * static_cast<std::size_t>(2 * kernel.n_single + m_max);
  }
  // k[n][m] += x . X_s for m points from `first` on
  void add_products(std::int64_t first, std::int64_t m, double *k) {
    const std::int64_t d = kernel_.n_single;
    gemm(true, n_, m, d, x_, d, kernel_.single_points.data() + first * d, d, 0.0f, k_, m);
    row_loops().add_widened(k_, n_ * m, k);
  }
  // dL/dx += slopes[n][m] X
  void add_derivatives(std::int64_t first, std::int64_t m, const double *slopes) {
    const std::int64_t d = kernel_.n_single;
    row_loops().narrow(slopes, n_ * m, k_);
    gemm(false, n_, d, m, k_, m, kernel_.single_points.data() + first * d, d, first == 0 ? 0.0f : 1.0f, dl_dx_, d);
  }
  void store(double *dl_dx) const {
    const std::int64_t d = kernel_.n_in, first = d - kernel_.n_single;
    for (int i = 0; i < n_; ++i) {
      double *row = dl_dx + i * d + first;
      std::fill(row, row + kernel_.n_single, 0.0);
      row_loops().add_widened(dl_dx_ + i * kernel_.n_single, kernel_.n_single, row);
    }
  }

 private:
  const Kernel &kernel_;
  const int n_;
  float *x_, *k_, *dl_dx_;  // [n][n_single], [n][points of a block], [n][n_single]
};

// The outputs of several sets of weights from one set of powers: one product more. k[n][m] becomes the slopes of L; `spare`:
// 2 n m doubles.
void several_outputs(const Kernel &kernel, int n, std::int64_t first, std::int64_t m, double *k, double *spare, double *values,
                     const double *adjoint, int output) {
  const double *w = kernel.weights.data() + first;
  double *powers = spare, *pulled = spare + n * m;
  if (adjoint) gemm(false, n, m, kernel.n_out, adjoint, kernel.n_out, w, kernel.n_sparse, 0.0, pulled, m);
  for (int i = 0; i < n; ++i)
    kernel_loops().polynomial_powers(k + i * m, adjoint ? pulled + i * m : w + output * kernel.n_sparse, kernel.zeta, m,
                                     powers + i * m);
  gemm(true, n, kernel.n_out, m, powers, m, w, kernel.n_sparse, 1.0, values, kernel.n_out);
}

}  // namespace

void sparse_kernel(const Kernel &kernel, const double *x, int n, Buffer &scratch, double *values, double *dl_dx,
                   const double *adjoint, int output) {
  if (kernel.matrix) return matrix_kernel(kernel, x, n, scratch, values, dl_dx, adjoint, output);
  const bool fused = kernel.n_out == 1 && !adjoint;
  const std::int64_t d = kernel.n_in, d_double = d - kernel.n_single;
  const std::int64_t m_max = std::min(block, std::max<std::int64_t>(kernel.n_sparse, 1));
  const std::size_t n_k = static_cast<std::size_t>(n) * m_max, n_spare = fused ? 0 : 2 * n_k;
  double *k = scratch.reserve(n_k + n_spare + (SinglePart::scratch_floats(kernel, n, m_max) + 1) / 2);
  SinglePart single(kernel, x, n, m_max, reinterpret_cast<float *>(k + n_k + n_spare));
  if (dl_dx && kernel.n_sparse == 0) std::fill(dl_dx, dl_dx + n * d, 0.0);
  for (std::int64_t first = 0; first < kernel.n_sparse; first += block) {
    const std::int64_t m = std::min(block, kernel.n_sparse - first);
    const double *points = kernel.points.data() + first * d_double, *w = kernel.weights.data() + first;
    gemm(true, n, m, d_double, x, d, points, d_double, 0.0, k, m);
    if (kernel.n_single > 0) single.add_products(first, m, k);
    if (kernel.offset != 0.0)
      for (std::int64_t at = 0; at < n * m; ++at) k[at] += kernel.offset;
    if (fused)
      for (int i = 0; i < n; ++i) values[i] += kernel_loops().polynomial_kernel(k + i * m, w, kernel.zeta, m);
    else
      several_outputs(kernel, n, first, m, k, k + n_k, values, adjoint, output);
    if (!dl_dx) continue;
    gemm(false, n, d_double, m, k, m, points, d_double, first == 0 ? 0.0 : 1.0, dl_dx, d);
    if (kernel.n_single > 0) single.add_derivatives(first, m, k);
  }
  if (dl_dx && kernel.n_single > 0 && kernel.n_sparse > 0) single.store(dl_dx);
}

void kernel_row(const Kernel &kernel, const double *x, double *k, double *slope) {
  gemm(true, 1, kernel.n_sparse, kernel.n_in, x, kernel.n_in, kernel.points.data(), kernel.n_in, 0.0, k, kernel.n_sparse);
  for (std::int64_t s = 0; s < kernel.n_sparse; ++s) {
    const double base = k[s] + kernel.offset, lower = kernel.delta2 * kernel_loops().power(base, kernel.zeta - 1.0);
    k[s] = lower * base;
    slope[s] = kernel.zeta * lower;
  }
}

}  // namespace soapgap
