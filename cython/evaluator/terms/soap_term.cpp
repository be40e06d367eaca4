// SPDX-License-Identifier: BSD-3-Clause
#include "terms/soap_term.hpp"

#include <algorithm>
#include <utility>

#include "density/loops.hpp"

namespace soapgap {
namespace {

// dL/dx (of the buffers) -> dL/dp -> dL/dc -> adds dL/dr_ij to pairs.
void backward(const SoapForm &form, int n, SoapBuffers &b, Stopwatch &watch, double *pairs) {
  const Features &f = form.features;
  double *dl_dp = b.dl_dp.reserve(f.n), *dl_dc = b.dl_dc.reserve(form.source.layout.n_c);
  for (int i = 0; i < n; ++i) {
    pull_back_features(f, b.c(form, i), b.features(form, i), b.seen(form) + i * f.n_kept, b.norms.data()[i],
                       b.dl_dx.data() + i * f.n_kept, b.scratch.data(), dl_dp, dl_dc);
    watch.lap(spectrum_back);
    density_loops().pull_back_density(form.source.basis, b.environments[i], dl_dc, b.scratch.data(), pairs);
    watch.lap(expansion_back);
  }
}

}  // namespace

void forward(const SoapForm &form, const Neighbours &nb, const Batch &batch, SoapBuffers &b, Stopwatch &watch) {
  const DensityLoops &density = density_loops();
  const Features &f = form.features;
  const DensityBasis &basis = form.source.basis;
  watch.start();
  b.environments.fill(form.source, nb, batch);
  watch.lap(sorting);
  double *scratch = b.scratch.reserve(std::max(f.n_scratch, density.expansion_scratch(basis, b.environments.largest())));
  double *c = b.coefficients.reserve(batch.n * basis.n_c), *x = b.x.reserve(batch.n * f.n), *norms = b.norms.reserve(batch.n);
  double *x_kept = f.kept.empty() ? nullptr : b.x_kept.reserve(batch.n * f.n_kept);
  for (int i = 0; i < batch.n; ++i) {
    density.expand_density(basis, b.environments[i], scratch, c + i * basis.n_c);
    watch.lap(expansion);
    norms[i] = features_of(f, c + i * basis.n_c, scratch, x + i * f.n);
    if (x_kept) keep(f, x + i * f.n, x_kept + i * f.n_kept);
    watch.lap(spectrum);
  }
}

SoapTerm::SoapTerm(int centre, SoapForm exact, std::unique_ptr<SoapForm> reduced, bool reduced_rows)
    : centre_(centre), exact_(std::move(exact)), reduced_(std::move(reduced)), reduced_rows_(reduced_rows) {}

void SoapTerm::evaluate(const Job &job, const Batch &batch, ThreadBuffers &buffers) const {
  const SoapForm &form = reduced_ ? *reduced_ : exact_;
  if (!form.kernel.matrix && form.kernel.n_sparse == 0) return;  // adds nothing, and its features are not bounded by the file's size
  SoapBuffers &b = buffers.of<SoapBuffers>();
  const int n = batch.n, n_out = job.n_out;
  forward(form, job.neighbours(), batch, b, buffers.watch);
  double *values = b.values.reserve(n * n_out), *adjoint = nullptr;
  std::fill(values, values + n * n_out, 0.0);
  if (job.backward && job.adjoint) {
    adjoint = b.adjoint.reserve(n * n_out);
    for (int i = 0; i < n; ++i) std::copy_n(job.adjoint + batch.centres[i] * n_out, n_out, adjoint + i * n_out);
  }
  double *dl_dx = job.backward ? b.dl_dx.reserve(n * form.features.n_kept) : nullptr;
  sparse_kernel(form.kernel, b.seen(form), n, b.kernel, values, dl_dx, adjoint, job.output);
  buffers.watch.lap(kernel_products);
  if (job.backward) backward(form, n, b, buffers.watch, job.pairs);
  for (int i = 0; i < n; ++i)
    for (int o = 0; o < n_out; ++o) job.values[batch.centres[i] * n_out + o] += values[i * n_out + o];
}

void SoapTerm::keep_for_evaluation_only() {
  if (!reduced_) return;
  std::vector<double>().swap(exact_.kernel.points);
  whole_ = false;
}

}  // namespace soapgap
