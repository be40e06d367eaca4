// SPDX-License-Identifier: BSD-3-Clause
#include "features/invariants.hpp"

#include <algorithm>
#include <cmath>

#include "simd/dispatch.hpp"

namespace soapgap {

int batch_size(std::int64_t n_centres, int n_threads) {
  const std::int64_t full = 128, share = (n_centres / n_threads + 7) / 8 * 8;
  return static_cast<int>(std::min(full, std::max<std::int64_t>(8, share)));
}

std::vector<std::int64_t> centres_of(const Neighbours &nb, int species) {
  std::vector<std::int64_t> centres;
  for (std::int64_t i = 0; i < nb.n_centres; ++i)
    if (nb.centre_species[i] == species) centres.push_back(i);
  return centres;
}

void project_out(const SoapTerm &term, const double *x, double norm, const double *v, double *out) {
  const std::int64_t d = term.n_features;
  if (!term.normalise) {
    std::copy(v, v + d, out);
    return;
  }
  if (norm == 0.0) {  // no neighbours and no centre term: x = 0 by definition
    std::fill(out, out + d, 0.0);
    return;
  }
  const Kernels &kernel = kernels();
  kernel.subtract_and_scale(v, kernel.dot(x, v, d), x, 1.0 / norm, d, out);
}

void keep(const SoapTerm &term, const double *all, double *kept) {
  for (std::int64_t k = 0; k < term.n_kept; ++k) kept[k] = all[term.kept[k]];
}

// project_out of a v that is zero but for the kept features.
static void project_kept_out(const SoapTerm &term, const double *x, const double *x_kept, double norm, const double *v,
                             double *out) {
  const std::int64_t d = term.n_features;
  const Kernels &kernel = kernels();
  double scale = 1.0;
  if (!term.normalise || norm == 0.0) {
    std::fill(out, out + d, 0.0);
    if (term.normalise) return;
  } else {
    scale = 1.0 / norm;
    kernel.subtract_and_scale(x, 0.0, x, -scale * kernel.dot(x_kept, v, term.n_kept), d, out);
  }
  for (std::int64_t k = 0; k < term.n_kept; ++k) out[term.kept[k]] += scale * v[k];
}

const double *kernel_input(const SoapTerm &term, const ThreadBuffers &b) {
  return term.kept.empty() ? b.x.data() : b.x_kept.data();
}

void forward(const SoapTerm &term, const Neighbours &nb, const std::int64_t *centres, int n, ThreadBuffers &b) {
  const Kernels &kernel = kernels();
  const std::int64_t d = term.n_features, n_c = term.basis.n_c;
  std::ptrdiff_t n_scratch = 0;
  b.watch.start();
  b.environments.fill(term, nb, centres, n);
  b.watch.lap(sorting);
  for (const Shell &shell : term.shells) n_scratch = std::max(n_scratch, std::ptrdiff_t(shell.n_row) * shell.n_row);
  n_scratch = std::max(n_scratch, kernel.expansion_scratch(term.basis, b.environments.largest()));
  double *scratch = b.scratch.reserve(n_scratch);
  double *c = b.coefficients.reserve(n * n_c), *x = b.x.reserve(n * d), *norms = b.norms.reserve(n);
  double *x_kept = b.x_kept.reserve(term.kept.empty() ? 0 : n * term.n_kept);
  for (int i = 0; i < n; ++i) {
    double *xi = x + i * d;
    kernel.expand_density(term.basis, b.environments[i], scratch, c + i * n_c);
    b.watch.lap(expansion);
    kernel.power_spectrum(term.spectrum, c + i * n_c, scratch, xi);
    norms[i] = std::sqrt(kernel.dot(xi, xi, d));
    if (term.normalise && norms[i] > 0.0) kernel.subtract_and_scale(xi, 0.0, xi, 1.0 / norms[i], d, xi);
    if (!term.kept.empty()) keep(term, xi, x_kept + i * term.n_kept);
    b.watch.lap(spectrum);
  }
}

void backward(const SoapTerm &term, int n, ThreadBuffers &b, double *gradients) {
  const Kernels &kernel = kernels();
  const std::int64_t d = term.n_features, n_c = term.basis.n_c;
  double *de_dp = b.de_dp.reserve(d), *de_dc = b.de_dc.reserve(n_c);
  for (int i = 0; i < n; ++i) {
    const double *x = b.x.data() + i * d, *v = b.de_dx.data() + i * term.n_kept;
    if (term.kept.empty())
      project_out(term, x, b.norms.data()[i], v, de_dp);
    else
      project_kept_out(term, x, b.x_kept.data() + i * term.n_kept, b.norms.data()[i], v, de_dp);
    kernel.pull_back_power_spectrum(term.spectrum, b.coefficients.data() + i * n_c, de_dp, b.scratch.data(), de_dc);
    b.watch.lap(spectrum_back);
    kernel.pull_back_density(term.basis, b.environments[i], de_dc, b.scratch.data(), gradients);
    b.watch.lap(expansion_back);
  }
}

}  // namespace soapgap
