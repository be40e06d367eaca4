// Pairs, each given once, in any order -> compressed rows of a full list, and their vectors. SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <array>
#include <vector>

#include "soapgap.hpp"

namespace soapgap {

namespace {

using Cell = std::array<std::int64_t, 3>;

// Images of one atom stand together by now; there is more than one only in cells smaller than twice the cutoff.
void order_images(std::int64_t begin, std::int64_t end, const std::int64_t *neighbour, std::int64_t *shift) {
  std::vector<Cell> images;
  for (std::int64_t first = begin, last; first < end; first = last) {
    for (last = first + 1; last < end && neighbour[last] == neighbour[first];) ++last;
    if (last - first == 1) continue;
    images.resize(static_cast<std::size_t>(last - first));
    for (std::int64_t p = first; p < last; ++p) std::copy_n(shift + 3 * p, 3, images[p - first].begin());
    std::sort(images.begin(), images.end());
    for (std::int64_t p = first; p < last; ++p) std::copy_n(images[p - first].begin(), 3, shift + 3 * p);
  }
}

}  // namespace

void sort_pairs(std::int64_t n_atoms, std::int64_t n_given, const std::int64_t *i, const std::int64_t *j,
                const std::int32_t *shift, std::int64_t *offsets, std::int64_t *neighbour, std::int64_t *sorted_shift) {
  std::fill(offsets, offsets + n_atoms + 1, 0);
  for (std::int64_t p = 0; p < n_given; ++p) {
    ++offsets[i[p] + 1];
    ++offsets[j[p] + 1];
  }
  for (std::int64_t k = 0; k < n_atoms; ++k) offsets[k + 1] += offsets[k];
  // Two stable counting sorts, by neighbour and then by centre: linear in the number of pairs, and no comparisons. An atom is
  // as often neighbour as it is centre, so both have the same buckets.
  std::vector<std::int64_t> next(offsets, offsets + n_atoms + 1), by_neighbour(2 * n_given);
  for (std::int64_t p = 0; p < n_given; ++p) {
    by_neighbour[next[j[p]]++] = 2 * p;      // as given
    by_neighbour[next[i[p]]++] = 2 * p + 1;  // the other way round
  }
  std::copy(offsets, offsets + n_atoms + 1, next.begin());
  for (const std::int64_t entry : by_neighbour) {
    const std::int64_t p = entry / 2;
    const bool turned = entry % 2;
    const std::int64_t place = next[turned ? j[p] : i[p]]++;
    neighbour[place] = turned ? i[p] : j[p];
    for (int x = 0; x < 3; ++x) sorted_shift[3 * place + x] = turned ? -shift[3 * p + x] : shift[3 * p + x];
  }
  for (std::int64_t k = 0; k < n_atoms; ++k) order_images(offsets[k], offsets[k + 1], neighbour, sorted_shift);
}

void pair_vectors(std::int64_t n_centres, const std::int64_t *centre_atom, const std::int64_t *offsets,
                  const std::int64_t *neighbour, const std::int64_t *shift, const double *positions, const double *cell,
                  double *vectors) {
  for (std::int64_t c = 0; c < n_centres; ++c) {
    const double *from = positions + 3 * centre_atom[c];
    for (std::int64_t p = offsets[c]; p < offsets[c + 1]; ++p) {
      const double *to = positions + 3 * neighbour[p];
      const auto a = static_cast<double>(shift[3 * p]), b = static_cast<double>(shift[3 * p + 1]),
                 d = static_cast<double>(shift[3 * p + 2]);
      for (int x = 0; x < 3; ++x)
        vectors[3 * p + x] = (to[x] - from[x]) + (a * cell[x] + b * cell[3 + x] + d * cell[6 + x]);
    }
  }
}

}  // namespace soapgap
