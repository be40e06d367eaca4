// SPDX-License-Identifier: BSD-3-Clause
#include "terms/averaged_soap.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "density/loops.hpp"

namespace soapgap {

AveragedSoapTerm::AveragedSoapTerm(int centre, SoapForm form, int number)
    : SoapTerm(centre, std::move(form), nullptr, false), number_(number) {}

Needs AveragedSoapTerm::needs() const {
  Needs needs;
  needs.sums = true;
  return needs;
}

// Sorts the neighbours of a batch and reserves the scratch for its densities. Returns the scratch.
static double *environments_of(const SoapForm &form, const Neighbours &nb, const Batch &batch, SoapBuffers &b) {
  b.environments.fill(form.source, nb, batch);
  const std::ptrdiff_t n = density_loops().expansion_scratch(form.source.basis, b.environments.largest());
  return b.scratch.reserve(std::max(form.features.n_scratch, n));
}

void AveragedSoapTerm::accumulate(const System &system, const Batch &batch, ThreadBuffers &buffers, double *sums) const {
  SoapBuffers &b = buffers.of<SoapBuffers>();
  const std::int64_t n_c = exact().source.layout.n_c;
  double *scratch = environments_of(exact(), system.neighbours, batch, b), *one = b.coefficients.reserve(n_c);
  for (int i = 0; i < batch.n; ++i) {
    density_loops().expand_density(exact().source.basis, b.environments[i], scratch, one);
    for (std::int64_t k = 0; k < n_c; ++k) sums[place_ + k] += one[k];
    sums[place_ + n_c] += 1.0;
  }
}

void AveragedSoapTerm::total_pull(const Job &job, double n_centres, double *pull) const {
  std::fill(pull, pull + job.n_out, 0.0);
  const Neighbours &nb = job.neighbours();
  for (std::int64_t i = 0; i < nb.n_centres; ++i)
    if (std::count(centres_.begin(), centres_.end(), nb.centre_species[i]))
      for (int o = 0; o < job.n_out; ++o) pull[o] += job.adjoint[i * job.n_out + o] / n_centres;
}

void AveragedSoapTerm::evaluate(const Job &job, const Batch &batch, ThreadBuffers &buffers) const {
  if (exact().kernel.n_sparse == 0) return;  // as in SoapTerm
  SoapBuffers &b = buffers.of<SoapBuffers>();
  const Features &f = exact().features;
  const std::int64_t n_c = exact().source.layout.n_c;
  const double *sum = job.sums + place_, n_centres = sum[n_c];
  double *scratch = environments_of(exact(), job.neighbours(), batch, b), *x = b.x.reserve(f.n);
  const double norm = features_of(f, sum, scratch, x);
  double *values = b.values.reserve(job.n_out), *pull = job.adjoint ? b.adjoint.reserve(job.n_out) : nullptr;
  std::fill(values, values + job.n_out, 0.0);
  if (pull) total_pull(job, n_centres, pull);
  double *dl_dx = job.backward ? b.dl_dx.reserve(f.n) : nullptr, *dl_dc = b.dl_dc.reserve(n_c);
  sparse_kernel(exact().kernel, x, 1, b.kernel, values, dl_dx, pull, job.output);
  if (job.backward) pull_back_features(f, sum, x, x, norm, dl_dx, scratch, b.dl_dp.reserve(f.n), dl_dc);
  for (int i = 0; i < batch.n; ++i) {
    for (int o = 0; o < job.n_out; ++o) job.values[batch.centres[i] * job.n_out + o] += values[o] / n_centres;
    if (job.backward) density_loops().pull_back_density(exact().source.basis, b.environments[i], dl_dc, scratch, job.pairs);
  }
}

void AveragedSoapTerm::rows(const System &, const Batch &, ThreadBuffers &, const Rows &) const {
  throw Error("rows of a design matrix are not made for averaged descriptors (one for a whole structure)");
}

// Whether c, p and x of two forms lie in memory alike and are made alike: the sum of both is read with either.
static bool same_features(const SoapForm &a, const SoapForm &b) {
  const auto same_shell = [](const Shell &s, const Shell &t) {
    return s.n == t.n && s.n_padded == t.n_padded && s.n_row == t.n_row && s.radial == t.radial && s.c == t.c;
  };
  const auto same_pair = [](const ChannelPair &p, const ChannelPair &q) { return p.i == q.i && p.j == q.j && p.factor == q.factor; };
  const std::vector<Shell> &s = a.source.layout.shells, &t = b.source.layout.shells;
  const Features &f = a.features, &g = b.features;
  return a.source.layout.n_channels == b.source.layout.n_channels && a.source.layout.n_c == b.source.layout.n_c &&
         std::equal(s.begin(), s.end(), t.begin(), t.end(), same_shell) && f.n == g.n && f.normalise == g.normalise &&
         f.factor == g.factor && std::equal(f.pairs.begin(), f.pairs.end(), g.pairs.begin(), g.pairs.end(), same_pair);
}

// Whether x of one is worth as much as x of the other: there is one output, and one derivative, for all their centres.
static bool same_kernel(const Kernel &k, const Kernel &l) {
  return k.n_sparse == l.n_sparse && k.zeta == l.zeta && k.offset == l.offset && k.points == l.points && k.weights == l.weights;
}

std::int64_t AveragedSoapTerm::join(const std::vector<std::unique_ptr<Term>> &terms, std::int64_t start) {
  std::map<int, std::vector<AveragedSoapTerm *>> groups;
  for (const auto &term : terms)
    if (auto *averaged = dynamic_cast<AveragedSoapTerm *>(term.get())) groups[averaged->number_].push_back(averaged);
  for (const auto &[number, group] : groups) {
    std::vector<int> centres;
    const SoapForm &first = group.front()->exact();
    for (const AveragedSoapTerm *term : group) {
      const SoapForm &form = term->exact();
      if (!same_features(form, first) || !same_kernel(form.kernel, first.kernel) ||
          std::count(centres.begin(), centres.end(), term->centre()))
        throw Error("features.average = " + std::to_string(number) + " joins terms that differ in n_max, l_max, channels, features or "
                    "sparse points or weights, or have the same centre; expected terms that differ in their centre alone");
      centres.push_back(term->centre());
    }
    for (AveragedSoapTerm *term : group) {
      term->place_ = start;
      term->centres_ = centres;
    }
    start += first.source.layout.n_c + 1;
  }
  return start;
}

}  // namespace soapgap
