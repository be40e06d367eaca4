// Neighbours -> density coefficients, and back. SPDX-License-Identifier: BSD-3-Clause
//
//   c_{I,lm} = sum_j R_nl(r_ij) Y_lm(u_ij) + [l = 0] centre_I,   I = (species of j, n)
// c is stored [lm][channel][n], n padded to a multiple of the vector width with zeros.
// Backward: with G = dE/dc,  dE/dr_ij = u sum R'_nl G Y + (1/r) (1 - u u^T) sum R_nl G grad Y.
#pragma once

#include <cstdint>

#include "radial_table.hpp"
#include "spherical_harmonics.hpp"

namespace soapgap {

struct DensityBasis {
  int l_max, n_max, n_padded, n_channels;
  int n_lm;        // (l_max + 1)^2
  int n_row;       // n_channels * n_padded
  int n_radial;    // (l_max + 1) * n_padded
  double cutoff;
  const Segment *segments;
  int n_segments;
  const double *table;          // [row][value, first, second derivative][l][n_padded]
  const double *centre_values;  // [n_row], already chosen for the centre's species
  HarmonicsCoefficients harmonics;
};

// One centre's neighbours inside the cutoff, sorted by channel; each channel's block starts at a multiple of the vector
// width and is filled up with copies of a harmless neighbour (pair = -1).
struct Environment {
  int n_padded;              // total, filling included
  const int *first, *count;  // [n_channels] start and true length of each block
  const double *r, *x, *y, *z;  // distance (Angstrom) and unit vector
  const std::int64_t *pair;  // index into Neighbours, -1 for filling
};

namespace SOAPGAP_ISA {

// R[f] of one neighbour, f over [l][n_padded].
inline void radial_values(const DensityBasis &basis, double r, double *out) {
  const int n_f = basis.n_radial;
  const TablePoint p = locate(basis.segments, basis.n_segments, r);
  const double *row = basis.table + static_cast<std::ptrdiff_t>(p.row) * 3 * n_f;
  Vec w[6];
  for (int k = 0; k < 6; ++k) w[k] = broadcast(p.value[k]);
  for (int f = 0; f < n_f; f += width) {
    Vec sum = w[0] * load(row + f);
    for (int k = 1; k < 6; ++k) sum += w[k] * load(row + k * n_f + f);
    store(out + f, sum);
  }
}

// R[f][lane] and R'[f][lane] of four neighbours: lanes are neighbours.
inline void radial_columns(const DensityBasis &basis, const double *r, double *value, double *slope) {
  const int n_f = basis.n_radial;
  const double *row[width];
  double wv[width][6], ws[width][6];
  for (int j = 0; j < width; ++j) {
    const TablePoint p = locate(basis.segments, basis.n_segments, r[j]);
    row[j] = basis.table + static_cast<std::ptrdiff_t>(p.row) * 3 * n_f;
    for (int k = 0; k < 6; ++k) {
      wv[j][k] = p.value[k];
      ws[j][k] = p.slope[k];
    }
  }
  for (int f = 0; f < n_f; f += width) {
    Vec v[width], d[width];
    for (int j = 0; j < width; ++j) {
      v[j] = broadcast(0.0);
      d[j] = broadcast(0.0);
      for (int k = 0; k < 6; ++k) {
        const Vec knot = load(row[j] + k * n_f + f);
        v[j] += broadcast(wv[j][k]) * knot;
        d[j] += broadcast(ws[j][k]) * knot;
      }
    }
    transpose(v[0], v[1], v[2], v[3]);
    transpose(d[0], d[1], d[2], d[3]);
    for (int n = 0; n < width; ++n) {
      store(value + (f + n) * width, v[n]);
      store(slope + (f + n) * width, d[n]);
    }
  }
}

// Doubles of scratch that forward and backward need for n neighbours (filling included).
inline std::ptrdiff_t expansion_scratch(const DensityBasis &basis, int n) {
  const std::ptrdiff_t factors = width * (triangle(basis.l_max + 1, 0) + 2 * (basis.l_max + 1));
  const std::ptrdiff_t forward = static_cast<std::ptrdiff_t>(n) * (basis.n_lm + basis.n_radial);
  const std::ptrdiff_t backward = 2 * static_cast<std::ptrdiff_t>(basis.n_radial) * width;
  return factors + (forward > backward ? forward : backward);
}

struct Factors {
  Vec *q, *c, *s;
  double *rest;
};

inline Factors factors_in(const DensityBasis &basis, double *scratch) {
  Vec *q = reinterpret_cast<Vec *>(scratch);
  Vec *c = q + triangle(basis.l_max + 1, 0);
  Vec *s = c + basis.l_max + 1;
  return {q, c, s, reinterpret_cast<double *>(s + basis.l_max + 1)};
}

// c[n_lm][n_row], overwritten.
inline void expand_density(const DensityBasis &basis, const Environment &env, double *scratch, double *c) {
  const int n_row = basis.n_row, n_f = basis.n_radial, n_p = basis.n_padded;
  const Factors f = factors_in(basis, scratch);
  double *y = f.rest, *radial = f.rest + static_cast<std::ptrdiff_t>(basis.n_lm) * env.n_padded;
  for (int j = 0; j < env.n_padded; j += width) {
    harmonics_factors(basis.harmonics, load(env.x + j), load(env.y + j), load(env.z + j), f.q, f.c, f.s);
    harmonics_values(basis.l_max, f.q, f.c, f.s, y + j, env.n_padded);
  }
  for (int j = 0; j < env.n_padded; ++j)
    if (env.pair[j] >= 0) radial_values(basis, env.r[j], radial + static_cast<std::ptrdiff_t>(j) * n_f);

  for (int i = 0; i < n_row; ++i) c[i] = basis.centre_values[i];
  for (std::ptrdiff_t i = n_row; i < static_cast<std::ptrdiff_t>(basis.n_lm) * n_row; ++i) c[i] = 0.0;
  for (int channel = 0; channel < basis.n_channels; ++channel) {
    const int first = env.first[channel], count = env.count[channel];
    if (count == 0) continue;
    for (int l = 0; l <= basis.l_max; ++l)
      small_gemm(2 * l + 1, n_p, count, y + static_cast<std::ptrdiff_t>(l * l) * env.n_padded + first, env.n_padded,
                 1, radial + static_cast<std::ptrdiff_t>(first) * n_f + l * n_p, n_f,
                 c + static_cast<std::ptrdiff_t>(l * l) * n_row + channel * n_p, n_row);
  }
}

// What four neighbours of one channel feel: sums over n for one (l, m), then over (l, m).
// g points at dE/dc of that channel, [n_lm] rows of stride n_row. Out: the four gradients, [xyz][lane].
inline void pull_back_four(const DensityBasis &basis, const double *g, const double *value, const double *slope,
                           const double *r, Vec x, Vec y, Vec z, const Factors &f, Vec *out) {
  const int n_row = basis.n_row, n_max = basis.n_max, n_p = basis.n_padded;
  Vec radial = broadcast(0.0), tx = broadcast(0.0), ty = broadcast(0.0), tz = broadcast(0.0);
  for (int l = 0; l <= basis.l_max; ++l) {
    const double *rv = value + l * n_p * width, *rs = slope + l * n_p * width;
    const double *centre = g + static_cast<std::ptrdiff_t>(l * l + l) * n_row;
    const double *e = basis.harmonics.e + triangle(l, 0);
    const Vec *q = f.q + triangle(l, 0);
    {
      Vec a = broadcast(0.0), b = broadcast(0.0);
      for (int n = 0; n < n_max; ++n) {
        const Vec gn = broadcast(centre[n]);
        a += gn * load(rv + n * width);
        b += gn * load(rs + n * width);
      }
      radial += broadcast(inverse_sqrt2) * q[0] * b;
      if (l > 0) tz += broadcast(inverse_sqrt2 * e[0]) * q[1] * a;
    }
    for (int m = 1; m <= l; ++m) {
      const double *plus = centre + m * n_row, *minus = centre - m * n_row;
      Vec ac = broadcast(0.0), bc = broadcast(0.0), as = broadcast(0.0), bs = broadcast(0.0);
      for (int n = 0; n < n_max; ++n) {
        const Vec v = load(rv + n * width), d = load(rs + n * width);
        const Vec gc = broadcast(plus[n]), gs = broadcast(minus[n]);
        ac += gc * v;
        bc += gc * d;
        as += gs * v;
        bs += gs * d;
      }
      const Vec qm = q[m] * broadcast(m);
      radial += q[m] * (bc * f.c[m] + bs * f.s[m]);
      tx += qm * (ac * f.c[m - 1] + as * f.s[m - 1]);
      ty += qm * (as * f.c[m - 1] - ac * f.s[m - 1]);
      if (m < l) tz += broadcast(e[m]) * q[m + 1] * (ac * f.c[m] + as * f.s[m]);
    }
  }
  const Vec along = tx * x + ty * y + tz * z;
  const Vec inverse_r = broadcast(1.0) / load(r);
  out[0] = (tx - along * x) * inverse_r + radial * x;
  out[1] = (ty - along * y) * inverse_r + radial * y;
  out[2] = (tz - along * z) * inverse_r + radial * z;
}

// Adds dE/dr_ij to gradients[pair][3] for every neighbour, given g = dE/dc [n_lm][n_row].
inline void pull_back_density(const DensityBasis &basis, const Environment &env, const double *g, double *scratch,
                              double *gradients) {
  const Factors f = factors_in(basis, scratch);
  double *value = f.rest, *slope = f.rest + static_cast<std::ptrdiff_t>(basis.n_radial) * width;
  for (int channel = 0; channel < basis.n_channels; ++channel) {
    const int first = env.first[channel], end = first + env.count[channel];
    for (int j = first; j < end; j += width) {
      const Vec x = load(env.x + j), y = load(env.y + j), z = load(env.z + j);
      radial_columns(basis, env.r + j, value, slope);
      harmonics_factors(basis.harmonics, x, y, z, f.q, f.c, f.s);
      Vec out[3];
      pull_back_four(basis, g + channel * basis.n_padded, value, slope, env.r + j, x, y, z, f, out);
      for (int lane = 0; lane < width && env.pair[j + lane] >= 0; ++lane) {
        double *gradient = gradients + 3 * env.pair[j + lane];
        for (int a = 0; a < 3; ++a) gradient[a] += out[a][lane];
      }
    }
  }
}

}  // namespace SOAPGAP_ISA
}  // namespace soapgap
