// SPDX-License-Identifier: BSD-3-Clause
#include "density/environment.hpp"

#include <cmath>

namespace soapgap {

// Two atoms on one site have no direction. Moved this far apart along z, every R_nl Y_lm and its gradient take their
// limits for r -> 0 to rounding, since R_nl ~ r^l.
static const double closest = 1e-10;

void EnvironmentBatch::fill(const Source &source, const Neighbours &nb, const Batch &batch) {
  n_centres_ = batch.n;
  n_groups_ = source.basis.n_groups;
  largest_ = 0;
  places_.clear();
  first_.clear();
  count_.clear();
  r_.clear();
  x_.clear();
  y_.clear();
  z_.clear();
  pair_.clear();
  for (int i = 0; i < batch.n; ++i) add_centre(source, nb, batch.centres[i]);
}

void EnvironmentBatch::add_centre(const Source &source, const Neighbours &nb, std::int64_t centre) {
  const int begin = static_cast<int>(r_.size());
  const double cutoff = source.basis.cutoff;
  for (int group = 0; group < n_groups_; ++group) {
    const int block = static_cast<int>(r_.size());
    for (std::int64_t p = nb.offsets[centre]; p < nb.offsets[centre + 1]; ++p) {
      const std::int32_t species = nb.neighbour_species[p];
      if (species < 0 || source.group_of_species[species] != group) continue;
      const double *v = nb.vectors + 3 * p;
      const double r2 = v[0] * v[0] + v[1] * v[1] + v[2] * v[2];
      if (!std::isfinite(r2)) refuse_vector(v);
      if (r2 >= cutoff * cutoff) continue;
      const double r = std::sqrt(r2);
      if (r >= cutoff) continue;
      const bool apart = r > closest;
      r_.push_back(apart ? r : closest);
      x_.push_back(apart ? v[0] / r : 0.0);
      y_.push_back(apart ? v[1] / r : 0.0);
      z_.push_back(apart ? v[2] / r : 1.0);
      pair_.push_back(p);
    }
    const int count = static_cast<int>(r_.size()) - block;
    first_.push_back(block - begin);
    count_.push_back(count);
    for (int i = count; i % 4 != 0; ++i) {
      r_.push_back(r_[block]);
      x_.push_back(0.0);
      y_.push_back(0.0);
      z_.push_back(1.0);
      pair_.push_back(-1);
    }
  }
  const int n_padded = static_cast<int>(r_.size()) - begin;
  places_.push_back({begin, n_padded});
  if (n_padded > largest_) largest_ = n_padded;
}

Environment EnvironmentBatch::operator[](int i) const {
  const Place p = places_[i];
  return {p.n_padded,          first_.data() + i * n_groups_, count_.data() + i * n_groups_, r_.data() + p.begin,
          x_.data() + p.begin, y_.data() + p.begin,             z_.data() + p.begin,             pair_.data() + p.begin};
}

}  // namespace soapgap
