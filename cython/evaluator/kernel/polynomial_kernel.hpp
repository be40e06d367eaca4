// k -> k^zeta, for a whole row of kernel values. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cmath>
#include <cstddef>

#include "base/vector.hpp"

namespace soapgap {
namespace SOAPGAP_ISA {

// k^exponent by repeated squaring; several vectors at once, so that the products need not wait for one another.
template <int n_tile>
inline void whole_power(const Vec *k, int exponent, Vec *out) {
  Vec base[n_tile];
  for (int t = 0; t < n_tile; ++t) {
    base[t] = k[t];
    out[t] = broadcast(1.0);
  }
  for (int n = exponent; n > 0; n >>= 1)
    for (int t = 0; t < n_tile; ++t) {
      if (n & 1) out[t] *= base[t];
      base[t] *= base[t];
    }
}

// Whole zeta by multiplication. Otherwise a k below 0 comes from rounding only (p . p' >= 0) and counts as 0.
inline double power(double k, double zeta) {
  const int whole = static_cast<int>(zeta);
  if (whole != zeta || whole > 32) return std::pow(k > 0.0 ? k : 0.0, zeta);
  double result = 1.0;
  for (int n = whole; n > 0; n >>= 1, k *= k)
    if (n & 1) result *= k;
  return result;
}

// k[s] becomes zeta w_s k_s^(zeta-1), the derivative; returned is the value sum_s w_s k_s^zeta.
inline double polynomial_kernel(double *k, const double *w, double zeta, std::ptrdiff_t n) {
  constexpr int n_tile = 4;
  const int whole = static_cast<int>(zeta) - 1;
  std::ptrdiff_t s = 0;
  Vec sums[n_tile];
  for (int t = 0; t < n_tile; ++t) sums[t] = broadcast(0.0);
  if (whole + 1 == zeta && whole <= 32)
    for (; s + n_tile * width <= n; s += n_tile * width) {
      Vec ks[n_tile], slope[n_tile];
      for (int t = 0; t < n_tile; ++t) ks[t] = load(k + s + t * width);
      whole_power<n_tile>(ks, whole, slope);
      for (int t = 0; t < n_tile; ++t) {
        slope[t] *= load(w + s + t * width);
        sums[t] += slope[t] * ks[t];
        store(k + s + t * width, broadcast(zeta) * slope[t]);
      }
    }
  const Vec all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  double sum = (all[0] + all[1]) + (all[2] + all[3]);
  for (; s < n; ++s) {
    const double slope = w[s] * power(k[s], zeta - 1.0);
    sum += slope * k[s];
    k[s] = zeta * slope;
  }
  return sum;
}

// For several outputs: powers[s], overwritten, becomes k_s^zeta and k[s], as above, zeta w_s k_s^(zeta-1).
inline void polynomial_powers(double *k, const double *w, double zeta, std::ptrdiff_t n, double *powers) {
  constexpr int n_tile = 4;
  const int whole = static_cast<int>(zeta) - 1;
  std::ptrdiff_t s = 0;
  if (whole + 1 == zeta && whole <= 32)
    for (; s + n_tile * width <= n; s += n_tile * width) {
      Vec ks[n_tile], lower[n_tile];
      for (int t = 0; t < n_tile; ++t) ks[t] = load(k + s + t * width);
      whole_power<n_tile>(ks, whole, lower);
      for (int t = 0; t < n_tile; ++t) {
        store(powers + s + t * width, lower[t] * ks[t]);
        store(k + s + t * width, broadcast(zeta) * (load(w + s + t * width) * lower[t]));
      }
    }
  for (; s < n; ++s) {
    const double lower = power(k[s], zeta - 1.0);
    powers[s] = lower * k[s];
    k[s] = zeta * (w[s] * lower);
  }
}

}  // namespace SOAPGAP_ISA
}  // namespace soapgap
