// Density coefficients -> power spectrum, and back. SPDX-License-Identifier: BSD-3-Clause
//
//   p_l,IJ = (2l+1)^-1/2 f_IJ sum_m c_{I,lm} c_{J,lm},  J <= I,  f_II = 1, f_IJ = sqrt(2)
// (Bartok, Kondor, Csanyi, Phys. Rev. B 87, 184115 (2013)), in the feature order of soapgap.hpp; or, for compressed
// descriptors, only the products (I, J) of a list, with factors of its own.
#pragma once

#include <cstddef>

#include "base/shell.hpp"
#include "base/vector.hpp"

namespace soapgap {

// A product of two functions (I, J) that is a feature, and what multiplies it.
struct ChannelPair {
  int i, j;  // padded positions; j <= i
  double factor;
};

struct PowerSpectrum {
  int l_max, n_channels;
  const Shell *shells;   // [l_max + 1]
  const int *row_of;     // [l][I] padded position of channel I of this l; l begins at row_start[l]
  const int *row_start;  // [l_max + 1]
  const double *factor;  // [l_max + 1] (2l+1)^-1/2, unless the model says otherwise
  const ChannelPair *pairs;  // the features of each l, where they are not all J <= I
  int n_pairs;               // 0: all J <= I
};

namespace SOAPGAP_ISA {

constexpr double sqrt2 = 1.41421356237309504880;

// p[n_features], overwritten; scratch: n_row^2 doubles of the largest l.
inline void power_spectrum(const PowerSpectrum &ps, const double *c, double *scratch, double *p) {
  for (int l = 0; l <= ps.l_max; ++l) {
    const Shell &shell = ps.shells[l];
    const int n_row = shell.n_row, n_functions = ps.n_channels * shell.n, *row_of = ps.row_of + ps.row_start[l];
    const double *cl = c + shell.c;
    for (int i = 0; i < n_row * n_row; ++i) scratch[i] = 0.0;
    for (int i = 0; i < n_row; i += width)  // only the columns up to the diagonal
      small_gemm(width, i + width, 2 * l + 1, cl + i, 1, n_row, cl, n_row, scratch + i * n_row, n_row);
    const double diagonal = ps.factor[l], off_diagonal = sqrt2 * ps.factor[l];
    for (int k = 0; k < ps.n_pairs; ++k)
      *p++ = ps.factor[l] * ps.pairs[k].factor * scratch[ps.pairs[k].i * n_row + ps.pairs[k].j];
    for (int i = 0; i < n_functions && ps.n_pairs == 0; ++i) {
      const double *row = scratch + row_of[i] * n_row;
      for (int j = 0; j < i; ++j) *p++ = off_diagonal * row[row_of[j]];
      *p++ = diagonal * row[row_of[i]];
    }
  }
}

// g = dE/dc [n_c], overwritten, from dE/dp; scratch: n_row^2 doubles of the largest l.
inline void pull_back_power_spectrum(const PowerSpectrum &ps, const double *c, const double *dp, double *scratch,
                                     double *g) {
  for (int l = 0; l <= ps.l_max; ++l) {
    const Shell &shell = ps.shells[l];
    const int n_row = shell.n_row, n_functions = ps.n_channels * shell.n, *row_of = ps.row_of + ps.row_start[l];
    const double diagonal = 2.0 * ps.factor[l], off_diagonal = sqrt2 * ps.factor[l];
    if (n_functions < n_row || ps.n_pairs > 0)
      for (int i = 0; i < n_row * n_row; ++i) scratch[i] = 0.0;
    for (int k = 0; k < ps.n_pairs; ++k) {
      const double d = ps.factor[l] * ps.pairs[k].factor * *dp++;
      scratch[ps.pairs[k].i * n_row + ps.pairs[k].j] += d;
      scratch[ps.pairs[k].j * n_row + ps.pairs[k].i] += d;
    }
    for (int i = 0; i < n_functions && ps.n_pairs == 0; ++i) {
      const int ri = row_of[i];
      for (int j = 0; j < i; ++j) {
        const double d = off_diagonal * *dp++;
        scratch[ri * n_row + row_of[j]] = d;
        scratch[row_of[j] * n_row + ri] = d;
      }
      scratch[ri * n_row + ri] = diagonal * *dp++;
    }
    double *gl = g + shell.c;
    for (int i = 0; i < (2 * l + 1) * n_row; ++i) gl[i] = 0.0;
    small_gemm(2 * l + 1, n_row, n_row, c + shell.c, n_row, 1, scratch, n_row, gl, n_row);
  }
}

// Directional derivative of p: dp (overwritten) for a change dc of one channel's coefficients (laid out as that channel
// of c). scratch: n_padded * n_row doubles of the largest l.
inline void power_spectrum_tangent(const PowerSpectrum &ps, const double *c, const double *dc, int channel,
                                   double *scratch, double *dp) {
  for (int l = 0; l <= ps.l_max; ++l) {
    const Shell &shell = ps.shells[l];
    const int n_row = shell.n_row, n_functions = ps.n_channels * shell.n, *row_of = ps.row_of + ps.row_start[l];
    const int begin = channel * shell.n, end = begin + shell.n;
    for (int i = 0; i < shell.n_padded * n_row; ++i) scratch[i] = 0.0;  // h[n][J] = sum_m dc_n c_J
    small_gemm(shell.n, n_row, 2 * l + 1, dc + shell.c / ps.n_channels, 1, shell.n_padded, c + shell.c, n_row, scratch,
               n_row);
    const double diagonal = ps.factor[l], off_diagonal = sqrt2 * ps.factor[l];
    const int block = channel * shell.n_padded;
    for (int k = 0; k < ps.n_pairs; ++k) {
      const int i = ps.pairs[k].i, j = ps.pairs[k].j;
      double change = 0.0;
      if (i >= block && i < block + shell.n_padded) change += scratch[(i - block) * n_row + j];
      if (j >= block && j < block + shell.n_padded) change += scratch[(j - block) * n_row + i];
      *dp++ = ps.factor[l] * ps.pairs[k].factor * change;
    }
    for (int i = 0; i < n_functions && ps.n_pairs == 0; ++i) {
      const bool i_moves = i >= begin && i < end;
      for (int j = 0; j <= i; ++j) {
        double change = 0.0;
        if (i_moves) change += scratch[(i - begin) * n_row + row_of[j]];
        if (j >= begin && j < end) change += scratch[(j - begin) * n_row + row_of[i]];
        *dp++ = (i == j ? diagonal : off_diagonal) * change;
      }
    }
  }
}

}  // namespace SOAPGAP_ISA
}  // namespace soapgap
