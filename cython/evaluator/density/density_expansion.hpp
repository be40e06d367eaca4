// Neighbours -> density coefficients, and back. SPDX-License-Identifier: BSD-3-Clause
//
//   c_{I,lm} = sum_j R_nl(r_ij) Y_lm(u_ij) + [l = 0] centre_I,   I = (channel of j, n)
// Neighbours come in groups, as a rule one for each species; each group has a channel that it adds to, usually its own.
// (base/coefficients.hpp says how c is stored.)
// Backward: with G = dE/dc,  dE/dr_ij = u sum R'_nl G Y + (1/r) (1 - u u^T) sum R_nl G grad Y.
#pragma once

#include <cstdint>

#include "base/shell.hpp"
#include "density/radial_table.hpp"
#include "density/spherical_harmonics.hpp"

namespace soapgap {

struct DensityBasis {
  int l_max, n_channels;
  int n_groups;
  const int *block_of;    // [n_groups] channel of each group
  const Shell *shells;    // [l_max + 1]
  std::ptrdiff_t n_c;     // coefficients in all
  int n_radial;           // radial functions of one channel, padding included
  double cutoff;
  const Segment *segments;
  int n_segments;
  const double *table;          // [group][row][value, first, second derivative][l][n_padded]
  std::ptrdiff_t table_stride;  // from group to group; 0 where all share one
  const double *centre_values;  // [n_row of l = 0], already chosen for the centre's species
  HarmonicsCoefficients harmonics;
};

// One centre's neighbours inside the cutoff, sorted by group; each group's block starts at a multiple of the vector
// width and is filled up with copies of a harmless neighbour (pair = -1).
struct Environment {
  int n_padded;              // total, filling included
  const int *first, *count;  // [n_groups] start and true length of each block
  const double *r, *x, *y, *z;  // distance (Angstrom) and unit vector
  const std::int64_t *pair;  // index into Neighbours, -1 for filling
};

namespace SOAPGAP_ISA {

inline const double *table_row(const DensityBasis &basis, int group, int row) {
  return basis.table + group * basis.table_stride + static_cast<std::ptrdiff_t>(row) * 3 * basis.n_radial;
}

// R[f] of one neighbour, f over [l][n_padded].
inline void radial_values(const DensityBasis &basis, int group, double r, double *out) {
  const int n_f = basis.n_radial;
  const TablePoint p = locate(basis.segments, basis.n_segments, r);
  const double *row = table_row(basis, group, p.row);
  Vec w[6];
  for (int k = 0; k < 6; ++k) w[k] = broadcast(p.value[k]);
  for (int f = 0; f < n_f; f += width) {
    Vec sum = w[0] * load(row + f);
    for (int k = 1; k < 6; ++k) sum += w[k] * load(row + k * n_f + f);
    store(out + f, sum);
  }
}

// R[f][lane] and R'[f][lane] of four neighbours: lanes are neighbours.
inline void radial_columns(const DensityBasis &basis, int group, const double *r, double *value, double *slope) {
  const int n_f = basis.n_radial;
  const double *row[width];
  double wv[width][6], ws[width][6];
  for (int j = 0; j < width; ++j) {
    const TablePoint p = locate(basis.segments, basis.n_segments, r[j]);
    row[j] = table_row(basis, group, p.row);
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
  const std::ptrdiff_t n_lm = static_cast<std::ptrdiff_t>(basis.l_max + 1) * (basis.l_max + 1);
  const std::ptrdiff_t forward = n * (n_lm + basis.n_radial);
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

// c[n_c], overwritten.
inline void expand_density(const DensityBasis &basis, const Environment &env, double *scratch, double *c) {
  const int n_f = basis.n_radial, n_lm = (basis.l_max + 1) * (basis.l_max + 1);
  const Factors f = factors_in(basis, scratch);
  double *y = f.rest, *radial = f.rest + static_cast<std::ptrdiff_t>(n_lm) * env.n_padded;
  for (int j = 0; j < env.n_padded; j += width) {
    harmonics_factors(basis.harmonics, load(env.x + j), load(env.y + j), load(env.z + j), f.q, f.c, f.s);
    harmonics_values(basis.l_max, f.q, f.c, f.s, y + j, env.n_padded);
  }
  for (int i = 0; i < basis.shells[0].n_row; ++i) c[i] = basis.centre_values[i];
  for (std::ptrdiff_t i = basis.shells[0].n_row; i < basis.n_c; ++i) c[i] = 0.0;
  for (int group = 0; group < basis.n_groups; ++group) {
    const int first = env.first[group], count = env.count[group], channel = basis.block_of[group];
    for (int j = 0; j < count; ++j)
      radial_values(basis, group, env.r[first + j], radial + static_cast<std::ptrdiff_t>(j) * n_f);
    if (count == 0) continue;
    for (int l = 0; l <= basis.l_max; ++l) {
      const Shell &shell = basis.shells[l];
      small_gemm(2 * l + 1, shell.n_padded, count, y + static_cast<std::ptrdiff_t>(l * l) * env.n_padded + first,
                 env.n_padded, 1, radial + shell.radial, n_f, c + shell.c + channel * shell.n_padded, shell.n_row);
    }
  }
}

// Accumulators of four neighbours: the radial part, and the derivative along the harmonics' extension (x, y, z).
struct Pull {
  Vec radial, x, y, z;
};

// Sums over n of G R and G R' for +m (cosine) and -m (sine). Plain members, no array: gcc keeps these in registers.
struct Sums {
  Vec ac, bc, as, bs;
};

inline void add_to(Sums &sums, Vec v, Vec d, double plus, double minus) {
  sums.ac += broadcast(plus) * v;
  sums.bc += broadcast(plus) * d;
  sums.as += broadcast(minus) * v;
  sums.bs += broadcast(minus) * d;
}

// What the sums of (l, m), m >= 1, add to the pull.
inline void finish(const DensityBasis &basis, int l, int m, const Sums &sums, const Factors &f, Pull &pull) {
  const Vec *q = f.q + triangle(l, 0);
  const Vec qm = q[m] * broadcast(m);
  pull.radial += q[m] * (sums.bc * f.c[m] + sums.bs * f.s[m]);
  pull.x += qm * (sums.ac * f.c[m - 1] + sums.as * f.s[m - 1]);
  pull.y += qm * (sums.as * f.c[m - 1] - sums.ac * f.s[m - 1]);
  if (m < l)
    pull.z += broadcast(basis.harmonics.e[triangle(l, m)]) * q[m + 1] * (sums.ac * f.c[m] + sums.as * f.s[m]);
}

// The part of m and m + 1, or of m alone: two at once keep enough sums in flight to hide the latency of the multiply-adds.
// g points at the row of (l, 0).
template <bool two>
inline void pull_back_m(const DensityBasis &basis, int l, int m, const double *g, const double *value,
                        const double *slope, const Factors &f, Pull &pull) {
  const std::ptrdiff_t n_row = basis.shells[l].n_row;
  const double *plus = g + m * n_row, *minus = g - m * n_row;
  const Vec zero = broadcast(0.0);
  Sums first = {zero, zero, zero, zero}, second = first;
  for (int n = 0; n < basis.shells[l].n; ++n) {
    const Vec v = load(value + n * width), d = load(slope + n * width);
    add_to(first, v, d, plus[n], minus[n]);
    if (two) add_to(second, v, d, plus[n_row + n], minus[n - n_row]);
  }
  finish(basis, l, m, first, f, pull);
  if (two) finish(basis, l, m + 1, second, f, pull);
}

// What four neighbours that add to one channel feel, given g = dE/dc. Out: the four gradients, [xyz][lane].
inline void pull_back_four(const DensityBasis &basis, int channel, const double *g, const double *value, const double *slope,
                           const double *r, Vec x, Vec y, Vec z, const Factors &f, Vec *out) {
  Pull pull = {broadcast(0.0), broadcast(0.0), broadcast(0.0), broadcast(0.0)};
  for (int l = 0; l <= basis.l_max; ++l) {
    const Shell &shell = basis.shells[l];
    const double *rv = value + shell.radial * width, *rs = slope + shell.radial * width;
    const double *row = g + shell.c + static_cast<std::ptrdiff_t>(l) * shell.n_row + channel * shell.n_padded;
    const Vec *q = f.q + triangle(l, 0);
    Vec a = broadcast(0.0), b = broadcast(0.0);
    for (int n = 0; n < shell.n; ++n) {
      a += broadcast(row[n]) * load(rv + n * width);
      b += broadcast(row[n]) * load(rs + n * width);
    }
    pull.radial += broadcast(inverse_sqrt2) * q[0] * b;
    if (l > 0) pull.z += broadcast(inverse_sqrt2 * basis.harmonics.e[triangle(l, 0)]) * q[1] * a;
    int m = 1;
    for (; m + 1 <= l; m += 2) pull_back_m<true>(basis, l, m, row, rv, rs, f, pull);
    if (m <= l) pull_back_m<false>(basis, l, m, row, rv, rs, f, pull);
  }
  const Vec along = pull.x * x + pull.y * y + pull.z * z;
  const Vec inverse_r = broadcast(1.0) / load(r);
  out[0] = (pull.x - along * x) * inverse_r + pull.radial * x;
  out[1] = (pull.y - along * y) * inverse_r + pull.radial * y;
  out[2] = (pull.z - along * z) * inverse_r + pull.radial * z;
}

// Adds dE/dr_ij to gradients[pair][3] for every neighbour, given g = dE/dc [n_c].
inline void pull_back_density(const DensityBasis &basis, const Environment &env, const double *g, double *scratch,
                              double *gradients) {
  const Factors f = factors_in(basis, scratch);
  double *value = f.rest, *slope = f.rest + static_cast<std::ptrdiff_t>(basis.n_radial) * width;
  for (int group = 0; group < basis.n_groups; ++group) {
    const int first = env.first[group], end = first + env.count[group], channel = basis.block_of[group];
    for (int j = first; j < end; j += width) {
      const Vec x = load(env.x + j), y = load(env.y + j), z = load(env.z + j);
      radial_columns(basis, group, env.r + j, value, slope);
      harmonics_factors(basis.harmonics, x, y, z, f.q, f.c, f.s);
      Vec out[3];
      pull_back_four(basis, channel, g, value, slope, env.r + j, x, y, z, f, out);
      for (int lane = 0; lane < width && env.pair[j + lane] >= 0; ++lane) {
        double *gradient = gradients + 3 * env.pair[j + lane];
        for (int a = 0; a < 3; ++a) gradient[a] += out[a][lane];
      }
    }
  }
}

}  // namespace SOAPGAP_ISA
}  // namespace soapgap
