// SPDX-License-Identifier: BSD-3-Clause
#include "soap_batch.hpp"

#include <algorithm>
#include <cmath>

#include "kernels.hpp"

namespace soapgap {

int batch_size(std::int64_t n_centres, int n_threads) {
  const std::int64_t full = 64, share = (n_centres / n_threads + 7) / 8 * 8;
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

void forward(const SoapTerm &term, const Neighbours &nb, const std::int64_t *centres, int n, ThreadBuffers &b) {
  const Kernels &kernel = kernels();
  const std::int64_t d = term.n_features, n_c = std::int64_t(term.basis.n_lm) * term.basis.n_row;
  b.environments.fill(term, nb, centres, n);
  double *scratch = b.scratch.reserve(std::max<std::ptrdiff_t>(
      kernel.expansion_scratch(term.basis, b.environments.largest()), std::ptrdiff_t(term.basis.n_row) * term.basis.n_row));
  double *c = b.coefficients.reserve(n * n_c), *x = b.x.reserve(n * d), *norms = b.norms.reserve(n);
  for (int i = 0; i < n; ++i) {
    double *xi = x + i * d;
    kernel.expand_density(term.basis, b.environments[i], scratch, c + i * n_c);
    kernel.power_spectrum(term.spectrum, c + i * n_c, scratch, xi);
    norms[i] = std::sqrt(kernel.dot(xi, xi, d));
    if (term.normalise && norms[i] > 0.0) kernel.subtract_and_scale(xi, 0.0, xi, 1.0 / norms[i], d, xi);
  }
}

void backward(const SoapTerm &term, int n, ThreadBuffers &b, double *gradients) {
  const Kernels &kernel = kernels();
  const std::int64_t d = term.n_features, n_c = std::int64_t(term.basis.n_lm) * term.basis.n_row;
  double *de_dp = b.de_dp.reserve(d), *de_dc = b.de_dc.reserve(n_c);
  for (int i = 0; i < n; ++i) {
    project_out(term, b.x.data() + i * d, b.norms.data()[i], b.de_dx.data() + i * d, de_dp);
    kernel.pull_back_power_spectrum(term.spectrum, b.coefficients.data() + i * n_c, de_dp, b.scratch.data(), de_dc);
    kernel.pull_back_density(term.basis, b.environments[i], de_dc, b.scratch.data(), gradients);
  }
}

}  // namespace soapgap
