// Cutoff functions of terms of few bodies. SPDX-License-Identifier: BSD-3-Clause
//
// 1 for r <= rc - w, 0 for r >= rc, and between, with u = (rc - r) / w,
//   cosine  f = (1 - cos(pi u)) / 2          GAP's (Bartok and Csanyi, Int. J. Quantum Chem. 115, 1051 (2015))
//   septic  f = u^4 (35 - 84 u + 70 u^2 - 20 u^3), the lowest polynomial whose first three derivatives vanish at both ends
#pragma once

#include <cmath>

namespace soapgap {

constexpr double pi = 3.14159265358979323846;

// f and df/dr of the cosine.
inline void cosine_cutoff(double r, double cutoff, double width, double &f, double &df) {
  const double t = (r - cutoff + width) / width;
  f = t <= 0.0 ? 1.0 : t >= 1.0 ? 0.0 : 0.5 * (std::cos(pi * t) + 1.0);
  df = t <= 0.0 || t >= 1.0 ? 0.0 : -0.5 * pi / width * std::sin(pi * t);
}

// f and df/dr of the septic polynomial.
inline void septic_cutoff(double r, double cutoff, double width, double &f, double &df) {
  const double u = (cutoff - r) / width, v = 1.0 - u;
  f = u >= 1.0 ? 1.0 : 0.0;
  df = 0.0;
  if (u <= 0.0 || u >= 1.0) return;
  const double low = u < v ? u : v;  // f(u) = 1 - f(v): the smaller of the two keeps all digits
  const double half = low * low * low * low * (35.0 - 84.0 * low + 70.0 * low * low - 20.0 * low * low * low);
  f = u < v ? half : 1.0 - half;
  df = -140.0 * (u * v) * (u * v) * (u * v) / width;
}

}  // namespace soapgap
