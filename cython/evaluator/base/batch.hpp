// Centres that are worked on together. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <vector>

#include "soapgap.hpp"

namespace soapgap {

// n centres of one species, as indices into a list of neighbours.
struct Batch {
  const std::int64_t *centres;
  int n;
};

// Centres of one species are worked on together, so that a kernel is two matrix products: as many as make those products
// run at full speed, fewer where threads would otherwise have nothing to do.
int batch_size(std::int64_t n_centres, int n_threads);

// Centres of a species, in the order of the list.
std::vector<std::int64_t> centres_of(const Neighbours &, int species);

// f(batch) for all centres of a species, one batch after the other.
template <class Function>
void for_each_batch(const Neighbours &nb, int species, Function f) {
  const std::vector<std::int64_t> centres = centres_of(nb, species);
  const std::int64_t n = static_cast<std::int64_t>(centres.size()), size = batch_size(n, 1);
  for (std::int64_t first = 0; first < n; first += size)
    f(Batch{centres.data() + first, static_cast<int>(n - first < size ? n - first : size)});
}

// Throws the Error for a neighbour vector that is not finite.
[[noreturn]] void refuse_vector(const double *vector);

}  // namespace soapgap
