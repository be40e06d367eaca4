// SPDX-License-Identifier: BSD-3-Clause
#include "terms/pair_term.hpp"

#include <cmath>

#include "density/pair_source.hpp"

namespace soapgap {
namespace {

struct Curve {
  double value, slope;
};

// A table of one function; beyond its ends it goes on in straight lines.
Curve look_up(const RadialTable &table, double x) {
  const Segment &last = table.segments.back();
  if (x >= last.stop) {
    const double *row = table.values.data() + 3 * (last.first_row + last.n_intervals);
    return {row[0] + (x - last.stop) * row[1], row[1]};
  }
  const TablePoint at = locate(table.segments.data(), static_cast<int>(table.segments.size()), x);
  const double *row = table.values.data() + 3 * static_cast<std::int64_t>(at.row);
  Curve curve = {0.0, 0.0};
  for (int k = 0; k < 6; ++k) {
    curve.value += at.value[k] * row[k];
    curve.slope += at.slope[k] * row[k];
  }
  return curve;
}

double distance(const double *v) {
  const double r = std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
  if (!std::isfinite(r)) refuse_vector(v);
  return r;
}

void add_gradient(double slope, const double *v, double r, double *gradient) {
  if (r > 0.0)
    for (int a = 0; a < 3; ++a) gradient[a] += slope * v[a] / r;
}

}  // namespace

void add_pair_term(const PairTerm &term, const Neighbours &nb, std::int64_t centre, double *energy,
                   double *gradients) {
  const std::int32_t own = nb.centre_species[centre];
  if (own != term.first && own != term.second) return;
  const std::int32_t other = own == term.first ? term.second : term.first;
  for (std::int64_t p = nb.offsets[centre]; p < nb.offsets[centre + 1]; ++p) {
    if (nb.neighbour_species[p] != other) continue;
    const double *v = nb.vectors + 3 * p, r = distance(v);
    if (r >= term.cutoff) continue;
    const Curve pair = look_up(term.table, r);
    *energy += pair.value;
    if (gradients) add_gradient(pair.slope, v, r, gradients + 3 * p);
  }
}

void add_embedding_term(const EmbeddingTerm &term, const Neighbours &nb, std::int64_t centre, double *energy,
                        double *gradients) {
  if (nb.centre_species[centre] != term.centre) return;
  const auto density_of = [&](std::int64_t p) -> const RadialTable * {
    const std::int32_t species = nb.neighbour_species[p];
    return species < 0 || term.density[species].segments.empty() ? nullptr : &term.density[species];
  };
  double rho = 0.0;
  for (std::int64_t p = nb.offsets[centre]; p < nb.offsets[centre + 1]; ++p) {
    const RadialTable *density = density_of(p);
    const double r = density ? distance(nb.vectors + 3 * p) : 0.0;
    if (density && r < density->stop()) rho += look_up(*density, r).value;
  }
  const Curve embedding = look_up(term.energy, rho);
  *energy += embedding.value;
  for (std::int64_t p = nb.offsets[centre]; p < nb.offsets[centre + 1] && gradients; ++p) {
    const RadialTable *density = density_of(p);
    const double *v = nb.vectors + 3 * p, r = density ? distance(v) : 0.0;
    if (density && r < density->stop()) add_gradient(embedding.slope * look_up(*density, r).slope, v, r, gradients + 3 * p);
  }
}

}  // namespace soapgap
