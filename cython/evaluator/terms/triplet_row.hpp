// The kernel of a triplet term for a row of sparse points. SPDX-License-Identifier: BSD-3-Clause
//
// Like triplet_kernel.hpp, but every point for itself: k_s = F_s k(x, X_s) in place of sum_s weights_s k(x, X_s).
#pragma once

#include "terms/triplet_kernel.hpp"

namespace soapgap {

// How a triplet of centre i and neighbours j, k pulls on r_ij and r_ik: e = w k_s, with w the cutoff functions and k_s a function
// of r_ij, r_ik and r_jk.
struct TripletPull {
  double w, dw[3];               // w and its derivatives with respect to the three distances
  double first[3], second[3];    // unit vectors of r_ij and r_ik
  double across[3];              // and that from j to k
};

namespace SOAPGAP_ISA {

// Adds kappa of one permutation and its derivatives with respect to x: value[n], slope[3][n].
inline void add_similarities(const TripletKernel &kernel, const double *x, const int *pi, double *value, double *slope) {
  const std::ptrdiff_t n = kernel.n_points;
  double z[3];
  for (int k = 0; k < 3; ++k) z[k] = x[pi[k]] * kernel.inverse_theta[k];
  for (std::ptrdiff_t s = 0; s < n; s += width) {
    const Vec d[3] = {broadcast(z[0]) - load(kernel.points + s), broadcast(z[1]) - load(kernel.points + n + s),
                      broadcast(z[2]) - load(kernel.points + 2 * n + s)};
    Vec kappa, derivative;
    similarity(kernel, d[0] * d[0] + d[1] * d[1] + d[2] * d[2], kappa, derivative);
    store(value + s, load(value + s) + kappa);
    for (int k = 0; k < 3; ++k) {
      double *row = slope + pi[k] * n + s;
      store(row, load(row) + broadcast(kernel.inverse_theta[k]) * derivative * d[k]);
    }
  }
}

// (x . X_s)^zeta and its derivatives with respect to x, overwritten.
inline void dot_products(const TripletKernel &kernel, const double *x, double *value, double *slope) {
  const std::ptrdiff_t n = kernel.n_points;
  for (std::ptrdiff_t s = 0; s < n; ++s) {
    const double X[3] = {kernel.points[s], kernel.points[n + s], kernel.points[2 * n + s]};
    const double k = x[0] * X[0] + x[1] * X[1] + x[2] * X[2], lower = power(k, kernel.zeta - 1.0);
    value[s] = lower * k;
    for (int a = 0; a < 3; ++a) slope[a * n + s] = kernel.zeta * lower * X[a];
  }
}

// s(x, X_s) / sqrt(s(x, x)) and its derivatives with respect to x, overwritten.
inline void similarities(const TripletKernel &kernel, const double *x, double *value, double *slope) {
  const std::ptrdiff_t n = kernel.n_points;
  for (std::ptrdiff_t s = 0; s < n; ++s) value[s] = 0.0;
  for (std::ptrdiff_t s = 0; s < 3 * n; ++s) slope[s] = 0.0;
  for (int p = 0; p < kernel.n_permutations; ++p) add_similarities(kernel, x, kernel.permutations + 3 * p, value, slope);
  if (kernel.n_permutations == 1) return;
  double self[4];
  self_similarity(kernel, x, self);
  const double scale = 1.0 / std::sqrt(self[0]);
  for (int a = 0; a < 3; ++a) subtract_and_scale(slope + a * n, 0.5 * self[1 + a] / self[0], value, scale, n, slope + a * n);
  subtract_and_scale(value, 0.0, value, scale, n, value);
}

// value[n_points] = k_s and slope[3][n_points], its derivatives with respect to r_1, r_2, r_12; overwritten.
inline void triplet_row(const TripletKernel &kernel, const double *r, double *value, double *slope) {
  const std::ptrdiff_t n = kernel.n_points;
  const double difference = r[0] - r[1];
  double x[3] = {r[0], r[1], r[2]};
  if (kernel.angle) {
    x[0] = r[0] + r[1];
    x[1] = difference * difference;
  }
  if (kernel.dot)
    dot_products(kernel, x, value, slope);
  else
    similarities(kernel, x, value, slope);
  for (std::ptrdiff_t s = 0; s < n; s += width) {
    const Vec factor = load(kernel.factors + s);
    store(value + s, factor * load(value + s) + load(kernel.constants + s));
    Vec d[3];
    for (int a = 0; a < 3; ++a) d[a] = factor * load(slope + a * n + s);
    const Vec turned = broadcast(2.0 * difference) * d[1];
    store(slope + s, kernel.angle ? d[0] + turned : d[0]);
    store(slope + n + s, kernel.angle ? d[0] - turned : d[1]);
    store(slope + 2 * n + s, d[2]);
  }
}

// What triplet_row means for the vectors: energy[n] += e, first[3][n] += de/dr_ij and second[3][n] += de/dr_ik (both null: energies
// only). n is a multiple of the vector width.
inline void add_triplet_row(std::ptrdiff_t n, const TripletPull &pull, const double *value, const double *slope, double *energy,
                            double *first, double *second) {
  for (std::ptrdiff_t s = 0; s < n; s += width) {
    const Vec k = load(value + s);
    store(energy + s, load(energy + s) + broadcast(pull.w) * k);
    if (!first) continue;
    Vec along[3];
    for (int m = 0; m < 3; ++m) along[m] = broadcast(pull.w) * load(slope + m * n + s) + broadcast(pull.dw[m]) * k;
    for (int a = 0; a < 3; ++a) {
      const Vec across = broadcast(pull.across[a]) * along[2];
      double *f = first + a * n + s, *g = second + a * n + s;
      store(f, load(f) + broadcast(pull.first[a]) * along[0] - across);
      store(g, load(g) + broadcast(pull.second[a]) * along[1] + across);
    }
  }
}

}  // namespace SOAPGAP_ISA
}  // namespace soapgap
