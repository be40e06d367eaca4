// Turns the parameters of a SOAP term into what the hot loops read. SPDX-License-Identifier: BSD-3-Clause
#include <cmath>

#include "soap_term.hpp"

namespace soapgap {

static void make_harmonics_coefficients(SoapTerm &term) {
  const int l_max = term.basis.l_max, n = triangle(l_max + 1, 0);
  term.harmonics_a.assign(n, 0.0);
  term.harmonics_b.assign(n, 0.0);
  term.harmonics_e.assign(n, 0.0);
  for (int l = 0; l <= l_max; ++l)
    for (int m = 0; m <= l; ++m) {
      const int at = triangle(l, m);
      const double l2 = double(l) * l, m2 = double(m) * m, up2 = double(l - 1) * (l - 1);
      term.harmonics_e[at] = std::sqrt(double(l - m) * (l + m + 1));
      if (m == l)
        term.harmonics_a[at] = l == 0 ? 1.0 : std::sqrt((2.0 * l + 1.0) / (2.0 * l));
      else
        term.harmonics_a[at] = std::sqrt((4.0 * l2 - 1.0) / (l2 - m2));
      if (m <= l - 2) term.harmonics_b[at] = -std::sqrt((up2 - m2) / (4.0 * up2 - 1.0));
    }
  term.basis.harmonics = {l_max, term.harmonics_a.data(), term.harmonics_b.data(), term.harmonics_e.data()};
}

// n is padded to the vector width: the padding holds zeros and so contributes nothing anywhere.
static void pad_table(SoapTerm &term, const RadialTable &table) {
  const DensityBasis &b = term.basis;
  const std::size_t n_rows = table.values.size() / (3 * static_cast<std::size_t>(table.n_functions));
  term.table.assign(n_rows * 3 * b.n_radial, 0.0);
  for (std::size_t row = 0; row < n_rows * 3; ++row)
    for (int l = 0; l <= b.l_max; ++l)
      for (int n = 0; n < b.n_max; ++n)
        term.table[row * b.n_radial + l * b.n_padded + n] = table.values[row * table.n_functions + l * b.n_max + n];
}

void prepare_soap_term(SoapTerm &term, int n_max, int l_max, int n_channels, double cutoff, const RadialTable &table,
                       const std::vector<double> &centre_values) {
  constexpr int vector_width = 4;
  DensityBasis &b = term.basis;
  b.n_max = n_max;
  b.l_max = l_max;
  b.n_channels = n_channels;
  b.cutoff = cutoff;
  b.n_padded = (n_max + vector_width - 1) / vector_width * vector_width;
  b.n_lm = (l_max + 1) * (l_max + 1);
  b.n_row = n_channels * b.n_padded;
  b.n_radial = (l_max + 1) * b.n_padded;
  term.segments = table.segments;
  pad_table(term, table);
  term.centre_values.assign(b.n_row, 0.0);
  term.row_of.resize(static_cast<std::size_t>(n_channels) * n_max);
  for (int channel = 0; channel < n_channels; ++channel)
    for (int n = 0; n < n_max; ++n) {
      term.centre_values[channel * b.n_padded + n] = centre_values[static_cast<std::size_t>(channel) * n_max + n];
      term.row_of[static_cast<std::size_t>(channel) * n_max + n] = channel * b.n_padded + n;
    }
  term.factor.resize(l_max + 1);
  for (int l = 0; l <= l_max; ++l) term.factor[l] = 1.0 / std::sqrt(2.0 * l + 1.0);
  make_harmonics_coefficients(term);
  b.segments = term.segments.data();
  b.n_segments = static_cast<int>(term.segments.size());
  b.table = term.table.data();
  b.centre_values = term.centre_values.data();
  term.spectrum = {l_max, b.n_row, n_channels * n_max, term.row_of.data(), term.factor.data()};
  const std::int64_t n = static_cast<std::int64_t>(n_channels) * n_max;
  term.n_features = (l_max + 1) * n * (n + 1) / 2;
}

}  // namespace soapgap
