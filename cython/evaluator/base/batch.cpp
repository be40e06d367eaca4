// SPDX-License-Identifier: BSD-3-Clause
#include "base/batch.hpp"

#include <algorithm>
#include <string>

namespace soapgap {

int batch_size(std::int64_t n_centres, int n_threads) {
  const std::int64_t full = 128, share = (n_centres / n_threads + 7) / 8 * 8;
  return static_cast<int>(std::min(full, std::max<std::int64_t>(8, share)));
}

std::vector<std::int64_t> centres_of(const Neighbours &nb, int species) {
  std::vector<std::int64_t> centres;
  for (std::int64_t i = 0; i < nb.n_centres; ++i)
    if (nb.centre_species[i] == species) centres.push_back(i);
  return centres;
}

void refuse_vector(const double *v) {
  throw Error("a neighbour vector is not finite (got " + std::to_string(v[0]) + ", " + std::to_string(v[1]) + ", " +
              std::to_string(v[2]) + "; expected Angstrom): check positions and cell of the structure");
}

}  // namespace soapgap
