// exp of four numbers at once. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>

#include "base/vector.hpp"

namespace soapgap {
namespace SOAPGAP_ISA {

typedef std::int64_t IntVec __attribute__((vector_size(width * sizeof(std::int64_t)), may_alias));

// exp(a) for a <= 0, to rounding: 2^n times the Taylor polynomial of the rest, |rest| <= ln(2)/2.
inline Vec exp_of_negative(Vec a) {
  const Vec lowest = broadcast(-700.0);  // far below what a sum of order one can feel
  a = a < lowest ? lowest : a;
  const double magic = 6755399441055744.0;  // 1.5 2^52: adding it rounds to a whole number, in the low bits
  const Vec shifted = a * broadcast(1.4426950408889634) + broadcast(magic);
  const Vec n = shifted - broadcast(magic);
  const Vec x = (a - n * broadcast(6.93147180369123816490e-01)) - n * broadcast(1.90821492927058770002e-10);
  static const double inverse_factorial[] = {1.0 / 6227020800.0, 1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0,
                                             1.0 / 362880.0,     1.0 / 40320.0,     1.0 / 5040.0,     1.0 / 720.0,
                                             1.0 / 120.0,        1.0 / 24.0,        1.0 / 6.0,        0.5};
  Vec p = broadcast(inverse_factorial[0]);
  for (int k = 1; k < 12; ++k) p = p * x + broadcast(inverse_factorial[k]);
  p = (p * x + broadcast(1.0)) * x + broadcast(1.0);
  return reinterpret_cast<Vec>(reinterpret_cast<IntVec>(p) + (reinterpret_cast<IntVec>(shifted) << 52));
}

}  // namespace SOAPGAP_ISA
}  // namespace soapgap
