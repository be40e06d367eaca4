// Density coefficients -> power spectrum, and back. SPDX-License-Identifier: BSD-3-Clause
//
//   p_l,IJ = (2l+1)^-1/2 f_IJ sum_m c_{I,lm} c_{J,lm},  J <= I,  f_II = 1, f_IJ = sqrt(2)
// (Bartok, Kondor, Csanyi, Phys. Rev. B 87, 184115 (2013)), in the feature order of soapgap.hpp.
#pragma once

#include <cstddef>

#include "simd.hpp"

namespace soapgap {

struct PowerSpectrum {
  int l_max, n_row;          // n_row as in DensityBasis
  int n_channel_functions;   // N = n_channels * n_max
  const int *row_of;         // [N] padded position of channel I
  const double *factor;      // [l_max + 1] (2l+1)^-1/2
};

namespace SOAPGAP_ISA {

constexpr double sqrt2 = 1.41421356237309504880;

// p[(l_max+1) N (N+1) / 2], overwritten; scratch: n_row^2 doubles.
inline void power_spectrum(const PowerSpectrum &ps, const double *c, double *scratch, double *p) {
  const int n_row = ps.n_row;
  for (int l = 0; l <= ps.l_max; ++l) {
    const double *cl = c + static_cast<std::ptrdiff_t>(l * l) * n_row;
    for (int i = 0; i < n_row * n_row; ++i) scratch[i] = 0.0;
    for (int i = 0; i < n_row; i += width)  // only the columns up to the diagonal
      small_gemm(width, i + width, 2 * l + 1, cl + i, 1, n_row, cl, n_row, scratch + i * n_row, n_row);
    const double diagonal = ps.factor[l], off_diagonal = sqrt2 * ps.factor[l];
    for (int i = 0; i < ps.n_channel_functions; ++i) {
      const double *row = scratch + ps.row_of[i] * n_row;
      for (int j = 0; j < i; ++j) *p++ = off_diagonal * row[ps.row_of[j]];
      *p++ = diagonal * row[ps.row_of[i]];
    }
  }
}

// g = dE/dc [n_lm][n_row], overwritten, from dE/dp; scratch: n_row^2 doubles.
inline void pull_back_power_spectrum(const PowerSpectrum &ps, const double *c, const double *dp, double *scratch,
                                     double *g) {
  const int n_row = ps.n_row;
  for (int i = 0; i < n_row * n_row; ++i) scratch[i] = 0.0;
  for (int l = 0; l <= ps.l_max; ++l) {
    const double diagonal = 2.0 * ps.factor[l], off_diagonal = sqrt2 * ps.factor[l];
    for (int i = 0; i < ps.n_channel_functions; ++i) {
      const int ri = ps.row_of[i];
      for (int j = 0; j < i; ++j) {
        const double d = off_diagonal * *dp++;
        scratch[ri * n_row + ps.row_of[j]] = d;
        scratch[ps.row_of[j] * n_row + ri] = d;
      }
      scratch[ri * n_row + ri] = diagonal * *dp++;
    }
    const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(l * l) * n_row;
    double *gl = g + at;
    for (int i = 0; i < (2 * l + 1) * n_row; ++i) gl[i] = 0.0;
    small_gemm(2 * l + 1, n_row, n_row, c + at, n_row, 1, scratch, n_row, gl, n_row);
  }
}

// Directional derivative of p: dp (overwritten) for a change dc [n_lm][n_padded] of one channel's coefficients.
// scratch: n_padded * n_row doubles.
inline void power_spectrum_tangent(const PowerSpectrum &ps, const double *c, const double *dc, int n_padded, int n_max,
                                   int channel, double *scratch, double *dp) {
  const int n_row = ps.n_row, begin = channel * n_max, end = begin + n_max;
  for (int l = 0; l <= ps.l_max; ++l) {
    const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(l * l);
    for (int i = 0; i < n_padded * n_row; ++i) scratch[i] = 0.0;  // h[n][J] = sum_m dc_n c_J
    small_gemm(n_max, n_row, 2 * l + 1, dc + at * n_padded, 1, n_padded, c + at * n_row, n_row, scratch, n_row);
    const double diagonal = ps.factor[l], off_diagonal = sqrt2 * ps.factor[l];
    for (int i = 0; i < ps.n_channel_functions; ++i) {
      const bool i_moves = i >= begin && i < end;
      for (int j = 0; j <= i; ++j) {
        double change = 0.0;
        if (i_moves) change += scratch[(i - begin) * n_row + ps.row_of[j]];
        if (j >= begin && j < end) change += scratch[(j - begin) * n_row + ps.row_of[i]];
        *dp++ = (i == j ? diagonal : off_diagonal) * change;
      }
    }
  }
}

}  // namespace SOAPGAP_ISA
}  // namespace soapgap
