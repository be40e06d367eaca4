// Radial functions as quintic Hermite tables. SPDX-License-Identifier: BSD-3-Clause
//
// A table holds value, first and second derivative of n_functions functions at the knots of consecutive segments.
// Each segment has its own equidistant knots and its own first and last row, so derivatives may jump between segments.
// On [r_k, r_k + h], with t = (r - r_k) / h,
//   f(r) = H0 f_k + H1 h f'_k + H2 h^2 f''_k + G0 f_k+1 + G1 h f'_k+1 + G2 h^2 f''_k+1
//   H0 = 1 - 10 t^3 + 15 t^4 - 6 t^5     H1 = t - 6 t^3 + 8 t^4 - 3 t^5     H2 = (t^2 - 3 t^3 + 3 t^4 - t^5) / 2
//   G0 = 10 t^3 - 15 t^4 + 6 t^5         G1 = -4 t^3 + 7 t^4 - 3 t^5        G2 = (t^3 - 2 t^4 + t^5) / 2
// and f'(r) is the derivative of that same polynomial, so energies and forces agree to rounding.
#pragma once

#include <cstddef>

namespace soapgap {

struct Segment {
  double start, stop;  // Angstrom
  double h;            // knot distance
  int n_intervals;
  int first_row;       // of the table
};

// Where r falls and the six weights of value and slope, in the order of the formula above (powers of h included).
struct TablePoint {
  int row;  // left knot; row + 1 is the right one
  double value[6];
  double slope[6];
};

// r must be below the last segment's stop; below the first start, value and slope continue linearly.
// (static: this header is compiled once per instruction set, and the copies must not be merged by the linker)
static inline TablePoint locate(const Segment *segments, int n_segments, double r) {
  int s = 0, last = n_segments - 1;
  while (last - s > 8) {  // the tables of other programs have a segment for every knot
    const int middle = (s + last) / 2;
    if (r >= segments[middle].stop)
      s = middle + 1;
    else
      last = middle;
  }
  while (s < last && r >= segments[s].stop) ++s;
  const Segment &seg = segments[s];
  if (r < seg.start) {
    const double d = r - seg.start;
    return {seg.first_row, {1.0, d, 0.0, 0.0, 0.0, 0.0}, {0.0, 1.0, 0.0, 0.0, 0.0, 0.0}};
  }
  const double h = seg.h;
  int k = static_cast<int>((r - seg.start) / h);
  if (k > seg.n_intervals - 1) k = seg.n_intervals - 1;
  const double t = (r - seg.start) / h - k;
  const double t2 = t * t, t3 = t2 * t, u = 1.0 - t, u2 = u * u, u3 = u2 * u;
  TablePoint p;
  p.row = seg.first_row + k;
  p.value[0] = u3 * (1.0 + 3.0 * t + 6.0 * t2);
  p.value[1] = h * t * u3 * (1.0 + 3.0 * t);
  p.value[2] = h * h * 0.5 * t2 * u3;
  p.value[3] = t3 * (1.0 + 3.0 * u + 6.0 * u2);
  p.value[4] = -h * u * t3 * (1.0 + 3.0 * u);
  p.value[5] = h * h * 0.5 * u2 * t3;
  const double s0 = 30.0 * t2 * u2 / h;
  p.slope[0] = -s0;
  p.slope[1] = u2 * (1.0 + 2.0 * t - 15.0 * t2);
  p.slope[2] = h * 0.5 * t * u2 * (2.0 - 5.0 * t);
  p.slope[3] = s0;
  p.slope[4] = t2 * (1.0 + 2.0 * u - 15.0 * u * u);
  p.slope[5] = -h * 0.5 * u * t2 * (2.0 - 5.0 * u);
  return p;
}

}  // namespace soapgap
