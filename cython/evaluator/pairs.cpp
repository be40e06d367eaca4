// Pairs in any order -> compressed rows, and their vectors. SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <array>
#include <vector>

#include "soapgap.hpp"

namespace soapgap {

namespace {

using Cell = std::array<std::int64_t, 3>;

// starts[k]: where bucket k begins when `keys` are put into buckets; starts[n] is their number.
void count(std::int64_t n, std::int64_t n_keys, const std::int64_t *keys, std::int64_t *starts) {
  std::fill(starts, starts + n + 1, 0);
  for (std::int64_t p = 0; p < n_keys; ++p) ++starts[keys[p] + 1];
  for (std::int64_t k = 0; k < n; ++k) starts[k + 1] += starts[k];
}

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

void sort_pairs(std::int64_t n_atoms, std::int64_t n_pairs, const std::int64_t *i, const std::int64_t *j,
                const std::int32_t *shift, std::int64_t *offsets, std::int64_t *neighbour, std::int64_t *sorted_shift) {
  // Two stable counting sorts, the last one by centre: linear in the number of pairs, and no comparisons.
  std::vector<std::int64_t> next(n_atoms + 1), by_neighbour(n_pairs);
  count(n_atoms, n_pairs, j, next.data());
  for (std::int64_t p = 0; p < n_pairs; ++p) by_neighbour[next[j[p]]++] = p;
  count(n_atoms, n_pairs, i, offsets);
  std::copy(offsets, offsets + n_atoms + 1, next.begin());
  for (const std::int64_t p : by_neighbour) {
    const std::int64_t place = next[i[p]]++;
    neighbour[place] = j[p];
    std::copy_n(shift + 3 * p, 3, sorted_shift + 3 * place);
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
