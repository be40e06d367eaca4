// Rows of the design matrix of a triplet term. SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>

#include "base/buffer.hpp"
#include "base/loops.hpp"
#include "terms/loops.hpp"
#include "terms/triplet_term.hpp"

namespace soapgap {
namespace {

struct TripletRowBuffers {
  std::vector<Near> near[2];
  Buffer rows, pulls;
  std::vector<std::int64_t> place_of_pair;  // in `pulls`, of the pairs of one centre; -1: not in a triplet so far
  std::vector<std::int64_t> pairs;          // those that are
};

// de_s/dr_ij of a pair of the centre, [3][n]: zeros at first.
double *pull_of(TripletRowBuffers &b, std::int64_t pair, std::int64_t begin, std::int64_t n) {
  std::int64_t &place = b.place_of_pair[pair - begin];
  if (place < 0) {
    place = static_cast<std::int64_t>(b.pairs.size());
    b.pairs.push_back(pair);
    std::fill_n(b.pulls.data() + 3 * n * place, 3 * n, 0.0);
  }
  return b.pulls.data() + 3 * n * place;
}

// Adds de_s/dr_ij of one pair to the rows of its two atoms and to those of strain.
void spread(const System &system, std::int64_t centre, std::int64_t pair, const double *pull, std::int64_t n, std::int64_t n_s,
            const Rows &rows) {
  static const int voigt[3][3] = {{0, 5, 4}, {5, 1, 3}, {4, 3, 2}};
  const double *v = system.neighbours.vectors + 3 * pair;
  for (int a = 0; a < 3; ++a) {
    if (rows.gradients) {
      row_loops().add_scaled(1.0, pull + a * n, n_s, rows.gradients + (3 * system.neighbour_atom[pair] + a) * n_s);
      row_loops().add_scaled(-1.0, pull + a * n, n_s, rows.gradients + (3 * system.centre_atom[centre] + a) * n_s);
    }
    for (int other = 0; rows.strain && other < 3; ++other)
      row_loops().add_scaled((a == other ? 1.0 : 0.5) * v[other], pull + a * n, n_s, rows.strain + voigt[a][other] * n_s);
  }
}

}  // namespace

void TripletTerm::rows(const System &system, const Batch &batch, ThreadBuffers &buffers, const Rows &rows) const {
  const Neighbours &nb = system.neighbours;
  TripletRowBuffers &b = buffers.of<TripletRowBuffers>();
  const TripletKernel &kernel = kernels_[0];
  const std::int64_t n_s = shape_.n_sparse, n = kernel.n_points;
  const bool derivatives = rows.gradients || rows.strain;
  double *one = b.rows.reserve(6 * n), *value = one + n, *slope = value + n, *energy = slope + 3 * n;
  for (int i = 0; i < batch.n; ++i) {
    const std::int64_t centre = batch.centres[i], begin = nb.offsets[centre], n_pairs = nb.offsets[centre + 1] - begin;
    const std::int64_t atom = system.centre_atom[centre];
    b.place_of_pair.assign(static_cast<std::size_t>(n_pairs), -1);
    b.pairs.clear();
    b.pulls.reserve(static_cast<std::size_t>(3 * n * n_pairs));
    std::fill(energy, energy + n, 0.0);
    for_each_triplet(nb, centre, b.near, [&](const Near &j, const Near &k) {
      const Triangle t = triangle_of(j, k);
      TripletPull pull = {t.w, {t.dw[0], t.dw[1], t.dw[2]}, {}, {}, {}};
      for (int a = 0; a < 3; ++a) {
        pull.first[a] = j.u[a];
        pull.second[a] = k.u[a];
        pull.across[a] = t.r[2] > 0.0 ? t.d[a] / t.r[2] : 0.0;
      }
      few_body_loops().triplet_row(kernel, t.r, value, slope);
      double *first = derivatives ? pull_of(b, j.pair, begin, n) : nullptr;
      double *second = derivatives ? pull_of(b, k.pair, begin, n) : nullptr;
      double *sum = energy;
      if (rows.local && shape_.shared) {  // every triplet has owners of its own
        std::fill(one, one + n, 0.0);
        sum = one;
      }
      few_body_loops().add_triplet_row(n, pull, value, slope, sum, first, second);
      if (sum == energy) return;
      row_loops().add_scaled(1.0, one, n, energy);
      for (const std::int64_t owner : {atom, system.neighbour_atom[j.pair], system.neighbour_atom[k.pair]})
        row_loops().add_scaled(1.0 / 3.0, one, n_s, rows.local + owner * n_s);
    });
    row_loops().add_scaled(1.0, energy, n_s, rows.energy);
    if (rows.local && !shape_.shared) row_loops().add_scaled(1.0, energy, n_s, rows.local + atom * n_s);
    for (const std::int64_t pair : b.pairs)
      spread(system, centre, pair, b.pulls.data() + 3 * n * b.place_of_pair[pair - begin], n, n_s, rows);
  }
}

}  // namespace soapgap
