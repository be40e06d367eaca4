// Neighbours -> outputs of centres, and the pull-back of a derivative. SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>

#include "base/blas.hpp"
#include "base/team.hpp"
#include "model.hpp"

namespace soapgap {

Workspace::Workspace(int n_threads) : data_(new WorkspaceData) {
  make_blas_serial();
  data_->threads.resize(static_cast<std::size_t>(std::max(1, n_threads)));
}
Workspace::~Workspace() = default;
std::vector<std::pair<std::string, double>> Workspace::profile() const {
  std::vector<std::pair<std::string, double>> phases;
  if (!data_->threads.front().watch.on()) return phases;
  for (int phase = 0; phase < n_phases; ++phase) {
    double seconds = 0.0;
    for (const ThreadBuffers &b : data_->threads) seconds += b.watch.seconds(phase);
    phases.emplace_back(phase_name(phase), seconds);
  }
  return phases;
}
int Workspace::n_threads() const { return static_cast<int>(data_->threads.size()); }

namespace {

// A piece of work: some centres of one species, and all terms that they have.
struct Piece {
  int species;
  Batch batch;
};

// Every piece writes to its own centres and their own pairs, so threads share nothing.
void evaluate_terms(const Property &property, int n_species, WorkspaceData &workspace, const Job &job) {
  const int n_threads = static_cast<int>(workspace.threads.size());
  std::vector<std::vector<std::int64_t>> centres;
  std::vector<Piece> pieces;
  for (int species = 0; species < n_species; ++species) {
    centres.push_back(centres_of(job.neighbours(), species));
    const std::int64_t n = static_cast<std::int64_t>(centres.back().size()), size = batch_size(n, n_threads);
    for (std::int64_t first = 0; first < n; first += size)
      pieces.push_back({species, {centres.back().data() + first, static_cast<int>(std::min(size, n - first))}});
  }
  share_out(static_cast<std::int64_t>(pieces.size()), n_threads, [&](std::int64_t k, int thread) {
    for (const auto &term : property.terms)
      if (term->has_centre(pieces[k].species)) term->evaluate(job, pieces[k].batch, workspace.threads[thread]);
  });
}

// The offsets of the centres' species, and zeros where terms will add.
void begin(const Property &property, const Job &job) {
  const Neighbours &nb = job.neighbours();
  for (std::int64_t i = 0; i < nb.n_centres; ++i)
    for (int o = 0; o < job.n_out; ++o)
      job.values[i * job.n_out + o] = nb.centre_species[i] < 0 ? 0.0 : property.offsets[nb.centre_species[i] * job.n_out + o];
  if (job.atoms) std::fill_n(job.atoms, 3 * job.system.n_atoms, 0.0);
  if (job.strain) std::fill_n(job.strain, 9, 0.0);
  if (nb.n_centres == 0) return;
  if (job.backward) std::fill(job.pairs + 3 * nb.offsets[0], job.pairs + 3 * nb.offsets[nb.n_centres], 0.0);
  if (job.handed) std::fill(job.handed + job.n_out * nb.offsets[0], job.handed + job.n_out * nb.offsets[nb.n_centres], 0.0);
}

}  // namespace

std::int64_t n_sums(const Model &model) { return model.data().n_sums; }

// One centre after the other: the sum does not depend on the number of threads.
void accumulate(const Model &model, Workspace &workspace, const System &system, double *sums) {
  const ModelData &m = model.data();
  for (int species = 0; m.needs.sums && species < static_cast<int>(m.species.size()); ++species)
    for (const Term *term : m.terms)
      if (term->needs().sums && term->has_centre(species))
        for_each_batch(system.neighbours, species,
                       [&](const Batch &batch) { term->accumulate(system, batch, workspace.data().threads[0], sums); });
}

void evaluate(const Model &model, Workspace &workspace, const System &system, const double *sums, const Outputs &outputs,
              const Adjoint *adjoint) {
  const ModelData &m = model.data();
  make_blas_serial();
  if (outputs.property < 0 || outputs.property >= static_cast<int>(m.properties.size()))
    throw Error("property number " + std::to_string(outputs.property) + " is asked for; this model has " +
                std::to_string(m.properties.size()));
  const Property &property = m.properties[outputs.property];
  const int n_out = m.infos[outputs.property].n_out;
  static const Adjoint none;
  const Adjoint &back = adjoint ? *adjoint : none;
  if (adjoint && !back.values && (back.output < 0 || back.output >= n_out))
    throw Error("the derivative of output number " + std::to_string(back.output) + " is asked for; property '" +
                m.infos[outputs.property].name + "' has " + std::to_string(n_out) + " outputs");
  std::vector<double> own_sums;
  if (m.needs.sums && !sums) {
    own_sums.assign(static_cast<std::size_t>(m.n_sums), 0.0);
    accumulate(model, workspace, system, own_sums.data());
    sums = own_sums.data();
  }
  const Job job = {system,      n_out,       sums,       outputs.values, outputs.handed, adjoint != nullptr,
                   back.values, back.output, back.pairs, back.atoms,     back.strain};
  begin(property, job);
  evaluate_terms(property, static_cast<int>(m.species.size()), workspace.data(), job);
}

void add_forces(const Neighbours &nb, const double *gradients, const std::int64_t *centre_atom,
                const std::int64_t *neighbour_atom, double *forces, double *virial) {
  for (std::int64_t i = 0; i < nb.n_centres; ++i) {
    double *own = forces + 3 * centre_atom[i];
    for (std::int64_t p = nb.offsets[i]; p < nb.offsets[i + 1]; ++p) {
      const double *g = gradients + 3 * p, *r = nb.vectors + 3 * p;
      double *other = forces + 3 * neighbour_atom[p];
      for (int a = 0; a < 3; ++a) {
        own[a] += g[a];
        other[a] -= g[a];
        for (int c = 0; c < 3; ++c) virial[3 * a + c] -= r[a] * g[c];
      }
    }
  }
}

}  // namespace soapgap
