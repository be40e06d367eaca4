// Real spherical harmonics on the unit sphere, four directions at once. SPDX-License-Identifier: BSD-3-Clause
//
//   Y_l0 = q_l0(z) / sqrt(2),   Y_lm = q_lm(z) c_m,   Y_l,-m = q_lm(z) s_m   (m > 0)
//   c_m + i s_m = (x + i y)^m
//   q_lm = sqrt((2l+1)/(2 pi) (l-m)!/(l+m)!) d^m P_l / dz^m
// from q_00 = 1/sqrt(2 pi), q_mm = sqrt((2m+1)/(2m)) q_m-1,m-1 and
//   q_lm = A_lm (z q_l-1,m + B_lm q_l-2,m),  A_lm^2 = (4l^2-1)/(l^2-m^2),  B_lm^2 = ((l-1)^2-m^2)/(4(l-1)^2-1)  (B_lm < 0)
// Their derivatives need nothing new: dq_lm/dz = E_lm q_l,m+1 with E_lm^2 = (l-m)(l+m+1), and d(c_m + i s_m) = m (c_m-1 + i s_m-1) d(x + i y).
// (The splitting is that of Bigi, Fraux, Browning, Ceriotti, J. Chem. Phys. 159, 064802 (2023).) These are derivatives of
// one extension off the sphere; their tangential part is that of Y_lm itself.
#pragma once

#include "base/vector.hpp"

namespace soapgap {

// Entry (l, m) of a triangular array, 0 <= m <= l.
static inline int triangle(int l, int m) { return l * (l + 1) / 2 + m; }

// A, B and E of the recurrences above for all (l, m), three doubles each; made by make_harmonics_coefficients.
struct HarmonicsCoefficients {
  int l_max;
  const double *a, *b, *e;
};

namespace SOAPGAP_ISA {

// q[triangle(l, m)] for l <= l_max, c[m] and s[m] for m <= l_max.
inline void harmonics_factors(const HarmonicsCoefficients &k, Vec x, Vec y, Vec z, Vec *q, Vec *c, Vec *s) {
  const int l_max = k.l_max;
  c[0] = broadcast(1.0);
  s[0] = broadcast(0.0);
  for (int m = 1; m <= l_max; ++m) {
    c[m] = x * c[m - 1] - y * s[m - 1];
    s[m] = x * s[m - 1] + y * c[m - 1];
  }
  q[0] = broadcast(0.39894228040143267794);  // 1 / sqrt(2 pi)
  for (int l = 1; l <= l_max; ++l) {
    const double *a = k.a + triangle(l, 0), *b = k.b + triangle(l, 0);
    Vec *row = q + triangle(l, 0);
    const Vec *one_up = q + triangle(l - 1, 0);
    const Vec *two_up = l > 1 ? q + triangle(l - 2, 0) : q;
    for (int m = 0; m <= l - 2; ++m) row[m] = broadcast(a[m]) * (z * one_up[m] + broadcast(b[m]) * two_up[m]);
    row[l - 1] = broadcast(a[l - 1]) * z * one_up[l - 1];
    row[l] = broadcast(a[l]) * one_up[l - 1];  // a(l, l) holds sqrt((2l+1)/(2l))
  }
}

constexpr double inverse_sqrt2 = 0.70710678118654752440;

// Y[lm * stride] for all lm from the factors.
inline void harmonics_values(int l_max, const Vec *q, const Vec *c, const Vec *s, double *y, std::ptrdiff_t stride) {
  for (int l = 0; l <= l_max; ++l) {
    const Vec *row = q + triangle(l, 0);
    double *centre = y + (l * l + l) * stride;
    store(centre, row[0] * broadcast(inverse_sqrt2));
    for (int m = 1; m <= l; ++m) {
      store(centre + m * stride, row[m] * c[m]);
      store(centre - m * stride, row[m] * s[m]);
    }
  }
}

}  // namespace SOAPGAP_ISA
}  // namespace soapgap
