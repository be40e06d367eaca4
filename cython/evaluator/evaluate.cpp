// Neighbours -> energies of centres and their gradients. SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <exception>
#include <map>
#ifdef _OPENMP
#include <omp.h>
#include <pthread.h>

#include <atomic>
#endif

#include "features/averaged_soap.hpp"
#include "base/blas.hpp"
#include "terms/pair_term.hpp"
#include "features/invariants.hpp"
#include "kernel/sparse_kernel.hpp"
#include "terms/triplet_term.hpp"

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

// An exception may not leave an OpenMP region: the first one is kept and thrown after it.
class FirstError {
 public:
  template <class Function>
  void guard(Function f) {
    try {
      f();
    } catch (...) {
#pragma omp critical(soapgap_first_error)
      if (!error_) error_ = std::current_exception();
    }
  }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::exception_ptr error_;
};

int thread_number() {
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}

// Threads that an OpenMP region may have. A process forked after one has lost the team that the runtime thinks it has, and
// would wait for it for ever: it works alone.
int team_size(int n_threads) {
#ifdef _OPENMP
  static std::atomic<bool> had_team{false}, lost_team{false};
  static const int registered = pthread_atfork(nullptr, nullptr, [] { lost_team = had_team.load(); });
  (void)registered;
  if (n_threads > 1 && !lost_team) had_team = true;
  return lost_team ? 1 : n_threads;
#else
  return n_threads;
#endif
}

void evaluate_batch(const SoapTerm &term, const Neighbours &nb, const std::int64_t *centres, int n, ThreadBuffers &b,
                    double *energies, double *gradients) {
  forward(term, nb, centres, n, b);
  double *e = b.energies.reserve(n);
  std::fill(e, e + n, 0.0);
  double *de_dx = gradients ? b.de_dx.reserve(n * term.n_kept) : nullptr;
  sparse_kernel(term, kernel_input(term, b), n, b.kernel, e, de_dx);
  b.watch.lap(kernel_products);
  if (gradients) backward(term, n, b, gradients);
  for (int i = 0; i < n; ++i) energies[centres[i]] += e[i];
}

// Every batch writes to its own centres and their own pairs, so threads share nothing.
void evaluate_soap(const SoapTerm &term, WorkspaceData &w, const Neighbours &nb, double *energies, double *gradients) {
  const std::vector<std::int64_t> centres = centres_of(nb, term.centre);
  const std::int64_t n = static_cast<std::int64_t>(centres.size());
  const std::int64_t size = batch_size(n, static_cast<int>(w.threads.size())), n_batches = (n + size - 1) / size;
  const int n_team = team_size(static_cast<int>(w.threads.size()));
  (void)n_team;
  FirstError error;
#pragma omp parallel for schedule(dynamic) num_threads(n_team)
  for (std::int64_t batch = 0; batch < n_batches; ++batch)
    error.guard([&] {
      const std::int64_t first = batch * size;
      evaluate_batch(term, nb, centres.data() + first, static_cast<int>(std::min(size, n - first)),
                     w.threads[thread_number()], energies, gradients);
    });
  error.rethrow();
}

void evaluate_averaged(const ModelData &m, WorkspaceData &w, const Neighbours &nb, double *energies, double *gradients) {
  std::map<int, std::vector<const SoapTerm *>> averages;
  for (const SoapTerm &term : m.soap_terms)
    if (term.average >= 0) averages[term.average].push_back(&term);
  for (const auto &[number, terms] : averages) add_averaged_soap(terms, nb, w.threads[0], energies, gradients);
}

// Terms of few bodies, centre by centre: a centre's pairs are its own, so threads share nothing here either.
void evaluate_few_body(const ModelData &m, WorkspaceData &w, const Neighbours &nb, double *energies, double *gradients,
                       double *shares) {
  if (m.pair_terms.empty() && m.triplet_terms.empty() && m.embedding_terms.empty()) return;
  const int n_team = team_size(static_cast<int>(w.threads.size()));
  (void)n_team;
  FirstError error;
#pragma omp parallel for schedule(static) num_threads(n_team)
  for (std::int64_t i = 0; i < nb.n_centres; ++i)
    error.guard([&] {
      double *e = energies + i;
      for (const PairTerm &term : m.pair_terms) add_pair_term(term, nb, i, e, gradients);
      for (const TripletTerm &term : m.triplet_terms)
        add_triplet_term(term, nb, i, w.threads[thread_number()], e, gradients, shares);
      for (const EmbeddingTerm &term : m.embedding_terms) add_embedding_term(term, nb, i, e, gradients);
    });
  error.rethrow();
}

}  // namespace

void evaluate(const Model &model, Workspace &workspace, const Neighbours &nb, double *energies, double *gradients,
              double *shares) {
  const ModelData &m = model.data();
  make_blas_serial();
  for (std::int64_t i = 0; i < nb.n_centres; ++i)
    energies[i] = nb.centre_species[i] < 0 ? 0.0 : m.e0[nb.centre_species[i]];
  if (nb.n_centres == 0) return;
  if (gradients) std::fill(gradients + 3 * nb.offsets[0], gradients + 3 * nb.offsets[nb.n_centres], 0.0);
  if (shares) std::fill(shares + nb.offsets[0], shares + nb.offsets[nb.n_centres], 0.0);
  for (const SoapTerm &term : m.soap_terms)
    if (term.average < 0) evaluate_soap(term.for_evaluation(), workspace.data(), nb, energies, gradients);
  if (m.whole_structure) evaluate_averaged(m, workspace.data(), nb, energies, gradients);
  evaluate_few_body(m, workspace.data(), nb, energies, gradients, shares);
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
