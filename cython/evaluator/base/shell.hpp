// One l of a row of density coefficients (base/coefficients.hpp), for the hot loops. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>

namespace soapgap {

// The radial functions of one l and where they lie.
struct Shell {
  int n, n_padded;
  int n_row;         // n_channels * n_padded
  int radial;        // first of them in a row of the table
  std::ptrdiff_t c;  // first coefficient of this l: its block is [2l+1][n_row]
};

}  // namespace soapgap
