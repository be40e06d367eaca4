// SPDX-License-Identifier: BSD-3-Clause
#include "terms/pair_term.hpp"

#include <cmath>
#include <utility>

namespace soapgap {
namespace {

void add_gradient(double slope, const double *v, double r, double *gradient) {
  if (r > 0.0)
    for (int a = 0; a < 3; ++a) gradient[a] += slope * v[a] / r;
}

// The table of a neighbour's density; null: it has none.
const RadialTable *table_of(const std::vector<RadialTable> &density, std::int32_t species) {
  return species < 0 || density[species].segments.empty() ? nullptr : &density[species];
}

}  // namespace

double distance(const double *v) {
  const double r = std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
  if (!std::isfinite(r)) refuse_vector(v);
  return r;
}

PairTerm::PairTerm(int first, int second, RadialTable table, std::unique_ptr<PairProcess> process)
    : first_(first), second_(second), table_(std::move(table)), process_(std::move(process)) {}

void PairTerm::evaluate(const Job &job, const Batch &batch, ThreadBuffers &) const {
  const Neighbours &nb = job.neighbours();
  const double cutoff = table_.stop();
  for (int i = 0; i < batch.n; ++i) {
    const std::int64_t centre = batch.centres[i];
    const std::int32_t other = nb.centre_species[centre] == first_ ? second_ : first_;
    double *values = job.values + centre * job.n_out;
    for (std::int64_t p = nb.offsets[centre]; p < nb.offsets[centre + 1]; ++p) {
      if (nb.neighbour_species[p] != other) continue;
      const double *v = nb.vectors + 3 * p, r = distance(v);
      if (r >= cutoff) continue;
      const Lookup at(table_, r);
      double slope = 0.0;
      for (int o = 0; o < job.n_out; ++o) {
        const Lookup::Curve pair = at(o);
        values[o] += pair.value;
        slope += job.pull(centre, o) * pair.slope;
      }
      if (job.backward) add_gradient(slope, v, r, job.pairs + 3 * p);
    }
  }
}

EmbeddingTerm::EmbeddingTerm(int centre, double cutoff, std::vector<RadialTable> density, RadialTable energy)
    : centre_(centre), cutoff_(cutoff), density_(std::move(density)), energy_(std::move(energy)) {}

void EmbeddingTerm::evaluate(const Job &job, const Batch &batch, ThreadBuffers &) const {
  const Neighbours &nb = job.neighbours();
  for (int i = 0; i < batch.n; ++i) {
    const std::int64_t centre = batch.centres[i];
    double rho = 0.0;
    for (std::int64_t p = nb.offsets[centre]; p < nb.offsets[centre + 1]; ++p) {
      const RadialTable *density = table_of(density_, nb.neighbour_species[p]);
      const double r = density ? distance(nb.vectors + 3 * p) : 0.0;
      if (density && r < density->stop()) rho += Lookup(*density, r)(0).value;
    }
    if (!std::isfinite(rho))  // it says where in a table to look
      throw Error("the density of an embedded atom is not finite; expected a number within the model's table: check the model's numbers");
    const Lookup at(energy_, rho);
    double slope = 0.0;
    for (int o = 0; o < job.n_out; ++o) {
      const Lookup::Curve embedding = at(o);
      job.values[centre * job.n_out + o] += embedding.value;
      slope += job.pull(centre, o) * embedding.slope;
    }
    for (std::int64_t p = nb.offsets[centre]; p < nb.offsets[centre + 1] && job.backward; ++p) {
      const RadialTable *density = table_of(density_, nb.neighbour_species[p]);
      const double *v = nb.vectors + 3 * p, r = density ? distance(v) : 0.0;
      if (density && r < density->stop()) add_gradient(slope * Lookup(*density, r)(0).slope, v, r, job.pairs + 3 * p);
    }
  }
}

}  // namespace soapgap
