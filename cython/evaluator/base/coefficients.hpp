// How density coefficients lie in memory: what sources write and features read. SPDX-License-Identifier: BSD-3-Clause
//
// c_{I,lm}, I = (channel, n), is stored l by l, each block [m = -l..l][channel][n]. Every l has its own number of radial
// functions, padded to a multiple of the vector width with zeros, which contribute nothing anywhere.
#pragma once

#include <vector>

#include "base/shell.hpp"

namespace soapgap {

struct CoefficientLayout {
  int n_channels = 0;
  std::vector<Shell> shells;  // [l_max + 1]
  int n_radial = 0;           // radial functions of one channel, padding included
  std::ptrdiff_t n_c = 0;     // coefficients in all, padding included
  int l_max() const { return static_cast<int>(shells.size()) - 1; }
};

// The layout for n_of_l[l] radial functions of each l in every one of n_channels channels.
inline CoefficientLayout make_layout(int n_channels, const std::vector<int> &n_of_l) {
  constexpr int vector_width = 4;
  CoefficientLayout layout;
  layout.n_channels = n_channels;
  for (int n : n_of_l) {
    Shell shell;
    shell.n = n;
    shell.n_padded = (n + vector_width - 1) / vector_width * vector_width;
    shell.n_row = n_channels * shell.n_padded;
    shell.radial = layout.n_radial;
    shell.c = layout.n_c;
    layout.n_radial += shell.n_padded;
    layout.n_c += static_cast<std::ptrdiff_t>(2 * layout.shells.size() + 1) * shell.n_row;
    layout.shells.push_back(shell);
  }
  return layout;
}

}  // namespace soapgap
