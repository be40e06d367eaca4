// Four doubles at once, in plain C++ (GCC and Clang vector extensions). SPDX-License-Identifier: BSD-3-Clause
//
// The hot code is compiled once per instruction set, each time inside its own namespace SOAPGAP_ISA (simd/one_isa.cpp);
// nothing here may be shared between those copies, hence the namespace in every header that uses this one.
#pragma once

#include <cstddef>

#ifndef SOAPGAP_ISA
#define SOAPGAP_ISA baseline
#endif

namespace soapgap {
namespace SOAPGAP_ISA {

constexpr int width = 4;
typedef double Vec __attribute__((vector_size(width * sizeof(double)), aligned(8), may_alias));

inline Vec load(const double *p) { return *reinterpret_cast<const Vec *>(p); }
inline void store(double *p, Vec v) { *reinterpret_cast<Vec *>(p) = v; }
inline Vec broadcast(double a) { return Vec{a, a, a, a}; }

// Rows a, b, c, d of a 4 x 4 block become its columns.
inline void transpose(Vec &a, Vec &b, Vec &c, Vec &d) {
  const Vec ab_low = __builtin_shufflevector(a, b, 0, 4, 2, 6);
  const Vec ab_high = __builtin_shufflevector(a, b, 1, 5, 3, 7);
  const Vec cd_low = __builtin_shufflevector(c, d, 0, 4, 2, 6);
  const Vec cd_high = __builtin_shufflevector(c, d, 1, 5, 3, 7);
  a = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
  b = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
  c = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
  d = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
}

// a . b; four sums, so that the additions need not wait for one another.
inline double dot(const double *a, const double *b, std::ptrdiff_t n) {
  Vec sum[4] = {broadcast(0.0), broadcast(0.0), broadcast(0.0), broadcast(0.0)};
  std::ptrdiff_t i = 0;
  for (; i + 4 * width <= n; i += 4 * width)
    for (int k = 0; k < 4; ++k) sum[k] += load(a + i + k * width) * load(b + i + k * width);
  const Vec all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  double total = (all[0] + all[1]) + (all[2] + all[3]);
  for (; i < n; ++i) total += a[i] * b[i];
  return total;
}

// out = scale (v - along x); out may be v.
inline void subtract_and_scale(const double *v, double along, const double *x, double scale, std::ptrdiff_t n,
                               double *out) {
  std::ptrdiff_t i = 0;
  for (; i + width <= n; i += width)
    store(out + i, broadcast(scale) * (load(v + i) - broadcast(along) * load(x + i)));
  for (; i < n; ++i) out[i] = scale * (v[i] - along * x[i]);
}

// out += scale x.
inline void add_scaled(double scale, const double *x, std::ptrdiff_t n, double *out) {
  std::ptrdiff_t i = 0;
  for (; i + width <= n; i += width) store(out + i, load(out + i) + broadcast(scale) * load(x + i));
  for (; i < n; ++i) out[i] += scale * x[i];
}

// targets[t][n] += scales[t] x for each of n_targets rows, no two of which are the same.
inline void add_to_each(const double *x, std::ptrdiff_t n, int n_targets, const double *scales, double *const *targets) {
  for (int t = 0; t < n_targets; ++t) add_scaled(scales[t], x, n, targets[t]);
}

typedef float SingleVec __attribute__((vector_size(width * sizeof(float)), aligned(4), may_alias));

// to[n] = from[n] rounded to single precision.
inline void narrow(const double *from, std::ptrdiff_t n, float *to) {
  std::ptrdiff_t i = 0;
  for (; i + width <= n; i += width)
    *reinterpret_cast<SingleVec *>(to + i) = __builtin_convertvector(load(from + i), SingleVec);
  for (; i < n; ++i) to[i] = static_cast<float>(from[i]);
}

// to[n] += from[n].
inline void add_widened(const float *from, std::ptrdiff_t n, double *to) {
  std::ptrdiff_t i = 0;
  for (; i + width <= n; i += width)
    store(to + i, load(to + i) + __builtin_convertvector(*reinterpret_cast<const SingleVec *>(from + i), Vec));
  for (; i < n; ++i) to[i] += from[i];
}

// One register tile of out[m][n] (+)= sum_k a(m, k) b[k][n]: m_tile rows, n_tile vectors.
template <int m_tile, int n_tile>
inline void gemm_tile(int n_k, const double *a, std::ptrdiff_t a_row, std::ptrdiff_t a_col, const double *b,
                      std::ptrdiff_t b_row, double *out, std::ptrdiff_t out_row) {
  Vec sum[m_tile][n_tile];
  for (int m = 0; m < m_tile; ++m)
    for (int n = 0; n < n_tile; ++n) sum[m][n] = load(out + m * out_row + n * width);
  for (int k = 0; k < n_k; ++k) {
    Vec bk[n_tile];
    for (int n = 0; n < n_tile; ++n) bk[n] = load(b + k * b_row + n * width);
    for (int m = 0; m < m_tile; ++m) {
      const Vec am = broadcast(a[m * a_row + k * a_col]);
      for (int n = 0; n < n_tile; ++n) sum[m][n] += am * bk[n];
    }
  }
  for (int m = 0; m < m_tile; ++m)
    for (int n = 0; n < n_tile; ++n) store(out + m * out_row + n * width, sum[m][n]);
}

template <int n_tile>
inline void gemm_rows(int n_m, int n_k, const double *a, std::ptrdiff_t a_row, std::ptrdiff_t a_col,
                      const double *b, std::ptrdiff_t b_row, double *out, std::ptrdiff_t out_row) {
  int m = 0;
  for (; m + 4 <= n_m; m += 4)
    gemm_tile<4, n_tile>(n_k, a + m * a_row, a_row, a_col, b, b_row, out + m * out_row, out_row);
  const double *rest = a + m * a_row;
  double *out_rest = out + m * out_row;
  switch (n_m - m) {
    case 3: gemm_tile<3, n_tile>(n_k, rest, a_row, a_col, b, b_row, out_rest, out_row); break;
    case 2: gemm_tile<2, n_tile>(n_k, rest, a_row, a_col, b, b_row, out_rest, out_row); break;
    case 1: gemm_tile<1, n_tile>(n_k, rest, a_row, a_col, b, b_row, out_rest, out_row); break;
    default: break;
  }
}

// out[n_m][n_n] += a(n_m, n_k) b[n_k][n_n] for the small matrices of one centre; n_n is a multiple of `width`.
// a is addressed as a[m a_row + k a_col], so either of a and its transpose will do.
inline void small_gemm(int n_m, int n_n, int n_k, const double *a, std::ptrdiff_t a_row, std::ptrdiff_t a_col,
                       const double *b, std::ptrdiff_t b_row, double *out, std::ptrdiff_t out_row) {
  int n = 0;
  for (; n + 3 * width <= n_n; n += 3 * width)
    gemm_rows<3>(n_m, n_k, a, a_row, a_col, b + n, b_row, out + n, out_row);
  switch ((n_n - n) / width) {
    case 2: gemm_rows<2>(n_m, n_k, a, a_row, a_col, b + n, b_row, out + n, out_row); break;
    case 1: gemm_rows<1>(n_m, n_k, a, a_row, a_col, b + n, b_row, out + n, out_row); break;
    default: break;
  }
}

}  // namespace SOAPGAP_ISA
}  // namespace soapgap
