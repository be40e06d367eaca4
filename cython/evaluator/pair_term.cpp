// SPDX-License-Identifier: BSD-3-Clause
#include "pair_term.hpp"

#include <cmath>

#include "environment.hpp"

namespace soapgap {

void add_pair_term(const PairTerm &term, const Neighbours &nb, std::int64_t centre, double *energy,
                   double *gradients) {
  const std::int32_t own = nb.centre_species[centre];
  if (own != term.first && own != term.second) return;
  const std::int32_t other = own == term.first ? term.second : term.first;
  const RadialTable &table = term.table;
  for (std::int64_t p = nb.offsets[centre]; p < nb.offsets[centre + 1]; ++p) {
    if (nb.neighbour_species[p] != other) continue;
    const double *v = nb.vectors + 3 * p;
    const double r = std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
    if (!std::isfinite(r)) refuse_vector(v);
    if (r >= term.cutoff) continue;
    const TablePoint at = locate(table.segments.data(), static_cast<int>(table.segments.size()), r);
    const double *row = table.values.data() + 3 * static_cast<std::int64_t>(at.row);
    double value = 0.0, slope = 0.0;
    for (int k = 0; k < 6; ++k) {
      value += at.value[k] * row[k];
      slope += at.slope[k] * row[k];
    }
    *energy += value;
    if (gradients && r > 0.0)
      for (int a = 0; a < 3; ++a) gradients[3 * p + a] += slope * v[a] / r;
  }
}

}  // namespace soapgap
