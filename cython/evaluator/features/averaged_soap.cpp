// SPDX-License-Identifier: BSD-3-Clause
#include "features/averaged_soap.hpp"

#include <algorithm>
#include <cmath>

#include "simd/dispatch.hpp"
#include "features/invariants.hpp"
#include "kernel/sparse_kernel.hpp"

namespace soapgap {
namespace {

// Calls f(environment, centre) for each centre of a term, a batch at a time.
template <class Function>
void for_each_environment(const SoapTerm &term, const Neighbours &nb, ThreadBuffers &b, Function f) {
  const std::vector<std::int64_t> centres = centres_of(nb, term.centre);
  const std::int64_t n = static_cast<std::int64_t>(centres.size()), size = batch_size(n, 1);
  for (std::int64_t first = 0; first < n; first += size) {
    const int m = static_cast<int>(std::min(size, n - first));
    b.environments.fill(term, nb, centres.data() + first, m);
    std::ptrdiff_t n_scratch = kernels().expansion_scratch(term.basis, b.environments.largest());
    for (const Shell &shell : term.shells) n_scratch = std::max(n_scratch, std::ptrdiff_t(shell.n_row) * shell.n_row);
    b.scratch.reserve(n_scratch);
    for (int i = 0; i < m; ++i) f(b.environments[i], centres[first + i]);
  }
}

}  // namespace

void add_averaged_soap(const std::vector<const SoapTerm *> &terms, const Neighbours &nb, ThreadBuffers &b, double *energies,
                       double *gradients) {
  const Kernels &kernel = kernels();
  const SoapTerm &first = *terms.front();
  const std::int64_t d = first.n_features, n_c = first.basis.n_c;
  double *sum = b.coefficients.reserve(2 * n_c), *one = sum + n_c;
  std::fill(sum, sum + n_c, 0.0);
  std::int64_t n_centres = 0;
  for (const SoapTerm *term : terms)
    for_each_environment(*term, nb, b, [&](const Environment &env, std::int64_t) {
      kernel.expand_density(term->basis, env, b.scratch.data(), one);
      for (std::int64_t k = 0; k < n_c; ++k) sum[k] += one[k];
      ++n_centres;
    });
  if (n_centres == 0) return;
  double *x = b.x.reserve(d), *de_dx = b.de_dx.reserve(d), *de_dp = b.de_dp.reserve(d), *de_dc = b.de_dc.reserve(n_c);
  kernel.power_spectrum(first.spectrum, sum, b.scratch.data(), x);
  const double norm = std::sqrt(kernel.dot(x, x, d));
  if (first.normalise && norm > 0.0) kernel.subtract_and_scale(x, 0.0, x, 1.0 / norm, d, x);
  double energy = 0.0;
  sparse_kernel(first, x, 1, b.kernel, &energy, gradients ? de_dx : nullptr);
  if (gradients) {
    project_out(first, x, norm, de_dx, de_dp);
    kernel.pull_back_power_spectrum(first.spectrum, sum, de_dp, b.scratch.data(), de_dc);
  }
  for (const SoapTerm *term : terms)
    for_each_environment(*term, nb, b, [&](const Environment &env, std::int64_t centre) {
      energies[centre] += energy / static_cast<double>(n_centres);
      if (gradients) kernel.pull_back_density(term->basis, env, de_dc, b.scratch.data(), gradients);
    });
}

}  // namespace soapgap
