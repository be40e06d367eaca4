// The function of three distances in a triplet term, from its sparse points or from a spline. SPDX-License-Identifier: BSD-3-Clause
//
//   k(x, X) = delta^2 s(x, X) / sqrt(s(x, x) s(X, X)) + f0^2,   s(x, y) = sum over permutations pi of kappa(x o pi, y)
//   ard_se               kappa = exp(-q / 2),               q = sum_k (x_k - y_k)^2 / theta_k^2
//   piecewise polynomial kappa = (1 - rho)^4 (4 rho + 1),   rho = sqrt(q) < 1, otherwise 0  (Rasmussen and Williams, Gaussian
//                        Processes for Machine Learning (2006), eq. 4.21, q = 1, D = 3)
//   dot_product          k = delta^2 (x . X)^zeta, without f0 and permutations
// with x = (r_1, r_2, r_12), or (r_1 + r_2, (r_1 - r_2)^2, r_12) for the geometry `angle`.
#pragma once

#include <cmath>
#include <cstdint>

#include "base/exponential.hpp"
#include "kernel/polynomial_kernel.hpp"

namespace soapgap {

// Plain data that the hot loop reads; pointers into a TripletTerm.
struct TripletKernel {
  bool angle, gaussian, dot;  // neither gaussian nor dot: piecewise polynomial
  int n_permutations;
  const int *permutations;  // [n_permutations][3]
  double inverse_theta[3], zeta, constant;
  std::ptrdiff_t n_points;  // padded to the vector width with points of weight 0
  const double *points;     // [3][n_points], divided by theta
  const double *weights;    // [n_points]
  const double *factors;    // [n_points] and for rows of single points: k_s = factors_s s(x, X_s) / sqrt(s(x, x)) + constants_s
  const double *constants;  // [n_points]
  // a spline of the whole, if there is one
  const double *grid;
  double inverse_h[3];
  std::ptrdiff_t n_cells[3], stride[2];
};

namespace SOAPGAP_ISA {

// kappa and d kappa / dq.
inline void piecewise_polynomial(double q, double &value, double &slope) {
  const double rho = std::sqrt(q);
  const double u = rho < 1.0 ? 1.0 - rho : 0.0, u3 = u * u * u;
  value = u3 * u * (4.0 * rho + 1.0);
  slope = -10.0 * u3;
}

// kappa and 2 d kappa / dq of four points.
inline void similarity(const TripletKernel &kernel, Vec q, Vec &kappa, Vec &derivative) {
  if (kernel.gaussian) {
    kappa = exp_of_negative(broadcast(-0.5) * q);
    derivative = -kappa;
    return;
  }
  for (int lane = 0; lane < width; ++lane) {
    double k, dk;
    piecewise_polynomial(q[lane], k, dk);
    kappa[lane] = k;
    derivative[lane] = 2.0 * dk;
  }
}

// sum_s w_s kappa(z, Z_s), and its derivatives with respect to z = x / theta: out[4].
inline void sum_over_points(const TripletKernel &kernel, const double *z, double *out) {
  const std::ptrdiff_t n = kernel.n_points;
  Vec value = broadcast(0.0), slope[3] = {value, value, value};
  for (std::ptrdiff_t s = 0; s < n; s += width) {
    const Vec d[3] = {broadcast(z[0]) - load(kernel.points + s), broadcast(z[1]) - load(kernel.points + n + s),
                      broadcast(z[2]) - load(kernel.points + 2 * n + s)};
    const Vec q = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
    Vec kappa, derivative;
    similarity(kernel, q, kappa, derivative);
    const Vec w = load(kernel.weights + s);
    value += w * kappa;
    for (int a = 0; a < 3; ++a) slope[a] += w * derivative * d[a];
  }
  out[0] = (value[0] + value[1]) + (value[2] + value[3]);
  for (int a = 0; a < 3; ++a) out[1 + a] = (slope[a][0] + slope[a][1]) + (slope[a][2] + slope[a][3]);
}

// s(x, x) and its derivatives with respect to x: out[4].
inline void self_similarity(const TripletKernel &kernel, const double *x, double *out) {
  for (int a = 0; a < 4; ++a) out[a] = 0.0;
  for (int p = 0; p < kernel.n_permutations; ++p) {
    const int *pi = kernel.permutations + 3 * p;
    double q = 0.0, dq[3] = {0.0, 0.0, 0.0}, kappa, slope;
    for (int k = 0; k < 3; ++k) {
      const double d = (x[pi[k]] - x[k]) * kernel.inverse_theta[k];
      q += d * d;
      dq[pi[k]] += 2.0 * d * kernel.inverse_theta[k];
      dq[k] -= 2.0 * d * kernel.inverse_theta[k];
    }
    if (kernel.gaussian) {
      kappa = std::exp(-0.5 * q);
      slope = -0.5 * kappa;
    } else
      piecewise_polynomial(q, kappa, slope);
    out[0] += kappa;
    for (int a = 0; a < 3; ++a) out[1 + a] += slope * dq[a];
  }
}

// u(x) = sum_s weights_s k(x, X_s) and du/dx: out[4].
inline void sum_of_kernels(const TripletKernel &kernel, const double *x, double *out) {
  for (int a = 0; a < 4; ++a) out[a] = 0.0;
  if (kernel.dot) {
    const std::ptrdiff_t n = kernel.n_points;
    for (std::ptrdiff_t s = 0; s < n; ++s) {
      const double X[3] = {kernel.points[s], kernel.points[n + s], kernel.points[2 * n + s]};
      const double k = x[0] * X[0] + x[1] * X[1] + x[2] * X[2];
      const double lower = kernel.weights[s] * power(k, kernel.zeta - 1.0);
      out[0] += lower * k;
      for (int a = 0; a < 3; ++a) out[1 + a] += kernel.zeta * lower * X[a];
    }
    return;
  }
  for (int p = 0; p < kernel.n_permutations; ++p) {
    const int *pi = kernel.permutations + 3 * p;
    double z[3], sum[4];
    for (int k = 0; k < 3; ++k) z[k] = x[pi[k]] * kernel.inverse_theta[k];
    sum_over_points(kernel, z, sum);
    out[0] += sum[0];
    for (int k = 0; k < 3; ++k) out[1 + pi[k]] += sum[1 + k] * kernel.inverse_theta[k];
  }
  if (kernel.n_permutations > 1) {
    double self[4];
    self_similarity(kernel, x, self);
    const double scale = 1.0 / std::sqrt(self[0]), along = -0.5 * out[0] * scale / self[0];
    for (int a = 1; a < 4; ++a) out[a] = out[a] * scale + along * self[a];
    out[0] *= scale;
  }
  out[0] += kernel.constant;
}

// Values and slopes of the six quintic B-splines that overlap an interval, at t in [0, 1]; lanes are axes. The recursion of
// Cox and de Boor for even knots; slopes from the splines of degree four.
inline void b_splines(Vec t, Vec inverse_h, Vec *value, Vec *slope) {
  value[0] = broadcast(1.0);
  for (int degree = 1; degree <= 5; ++degree) {
    if (degree == 5)
      for (int k = 0; k <= 5; ++k)
        slope[k] = ((k > 0 ? value[k - 1] : broadcast(0.0)) - (k < 5 ? value[k] : broadcast(0.0))) * inverse_h;
    Vec carried = broadcast(0.0);
    for (int k = 0; k < degree; ++k) {
      const Vec part = value[k] * broadcast(1.0 / degree);
      value[k] = carried + (broadcast(k + 1.0) - t) * part;
      carried = (t + broadcast(degree - k - 1.0)) * part;
    }
    value[degree] = carried;
  }
}

// The spline of u(x) and its derivatives: out[4].
inline void spline(const TripletKernel &kernel, const double *x, double *out) {
  Vec t = broadcast(0.0), value[6], slope[6];
  const double *corner = kernel.grid;
  for (int a = 0; a < 3; ++a) {
    const double at = x[a] * kernel.inverse_h[a];
    std::ptrdiff_t cell = static_cast<std::ptrdiff_t>(at);
    if (cell > kernel.n_cells[a] - 1) cell = kernel.n_cells[a] - 1;
    t[a] = at - static_cast<double>(cell);
    corner += cell * (a < 2 ? kernel.stride[a] : 1);
  }
  b_splines(t, Vec{kernel.inverse_h[0], kernel.inverse_h[1], kernel.inverse_h[2], 0.0}, value, slope);
  const Vec zero = broadcast(0.0);
  Vec whole[2] = {zero, zero}, first[2] = {zero, zero}, second[2] = {zero, zero};
  for (int i = 0; i < 6; ++i) {
    Vec row[2] = {zero, zero}, row_slope[2] = {zero, zero};
    for (int j = 0; j < 6; ++j) {
      const double *c = corner + i * kernel.stride[0] + j * kernel.stride[1];
      const Vec v = broadcast(value[j][1]), d = broadcast(slope[j][1]);
      for (int half = 0; half < 2; ++half) {
        row[half] += v * load(c + half * width);
        row_slope[half] += d * load(c + half * width);
      }
    }
    for (int half = 0; half < 2; ++half) {
      whole[half] += broadcast(value[i][0]) * row[half];
      first[half] += broadcast(slope[i][0]) * row[half];
      second[half] += broadcast(value[i][0]) * row_slope[half];
    }
  }
  const Vec v[2] = {{value[0][2], value[1][2], value[2][2], value[3][2]}, {value[4][2], value[5][2], 0.0, 0.0}};
  const Vec d[2] = {{slope[0][2], slope[1][2], slope[2][2], slope[3][2]}, {slope[4][2], slope[5][2], 0.0, 0.0}};
  const Vec sums[4] = {whole[0] * v[0] + whole[1] * v[1], first[0] * v[0] + first[1] * v[1],
                       second[0] * v[0] + second[1] * v[1], whole[0] * d[0] + whole[1] * d[1]};
  for (int a = 0; a < 4; ++a) out[a] = (sums[a][0] + sums[a][1]) + (sums[a][2] + sums[a][3]);
}

// u and its derivatives with respect to r_1, r_2, r_12: out[4].
inline void triplet_value(const TripletKernel &kernel, const double *r, double *out) {
  const double difference = r[0] - r[1];
  double x[3] = {r[0], r[1], r[2]}, v[4];
  if (kernel.angle) {
    x[0] = r[0] + r[1];
    x[1] = difference * difference;
  }
  if (kernel.grid)
    spline(kernel, x, v);
  else
    sum_of_kernels(kernel, x, v);
  out[0] = v[0];
  out[1] = kernel.angle ? v[1] + 2.0 * difference * v[2] : v[1];
  out[2] = kernel.angle ? v[1] - 2.0 * difference * v[2] : v[2];
  out[3] = v[3];
}

}  // namespace SOAPGAP_ISA
}  // namespace soapgap
