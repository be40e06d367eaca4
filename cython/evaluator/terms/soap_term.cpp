// Turns the parameters of a SOAP term into what the hot loops read. SPDX-License-Identifier: BSD-3-Clause
#include <cmath>
#include <utility>

#include "terms/soap_term.hpp"

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
static void make_shells(SoapTerm &term, const SoapShape &shape) {
  constexpr int vector_width = 4;
  DensityBasis &b = term.basis;
  b.n_radial = 0;
  b.n_c = 0;
  term.n_features = 0;
  for (int l = 0; l <= b.l_max; ++l) {
    Shell shell;
    shell.n = shape.n_of_l[l];
    shell.n_padded = (shell.n + vector_width - 1) / vector_width * vector_width;
    shell.n_row = shape.n_channels * shell.n_padded;
    shell.radial = b.n_radial;
    shell.c = b.n_c;
    b.n_radial += shell.n_padded;
    b.n_c += static_cast<std::ptrdiff_t>(2 * l + 1) * shell.n_row;
    const std::int64_t n = static_cast<std::int64_t>(shape.n_channels) * shell.n;
    term.n_features += shape.pairs.empty() ? n * (n + 1) / 2 : static_cast<std::int64_t>(shape.pairs.size());
    term.shells.push_back(shell);
    term.row_start.push_back(static_cast<int>(term.row_of.size()));
    for (int channel = 0; channel < shape.n_channels; ++channel)
      for (int k = 0; k < shell.n; ++k) term.row_of.push_back(channel * shell.n_padded + k);
  }
}

// values: [..][3][sum of n_of_l] without padding.
static void pad_table(SoapTerm &term, const std::vector<double> &values) {
  int n_functions = 0;
  for (const Shell &shell : term.shells) n_functions += shell.n;
  if (n_functions == 0) return;
  const std::size_t n_rows = values.size() / static_cast<std::size_t>(n_functions);
  term.table.assign(n_rows * term.basis.n_radial, 0.0);
  const double *from = values.data();
  for (std::size_t row = 0; row < n_rows; ++row)
    for (const Shell &shell : term.shells)
      for (int n = 0; n < shell.n; ++n) term.table[row * term.basis.n_radial + shell.radial + n] = *from++;
}

void prepare_soap_term(SoapTerm &term, const SoapShape &shape, const RadialTable &table,
                       const std::vector<double> &centre_values) {
  DensityBasis &b = term.basis;
  b.l_max = static_cast<int>(shape.n_of_l.size()) - 1;
  b.n_channels = shape.n_channels;
  b.cutoff = table.stop();
  make_shells(term, shape);
  term.segments = table.segments;
  term.block_of = shape.block_of;
  term.factor = shape.l_factors;
  term.pairs = shape.pairs;
  for (ChannelPair &pair : term.pairs) {
    pair.i = term.row_of[pair.i];
    pair.j = term.row_of[pair.j];
    if (pair.j > pair.i) std::swap(pair.i, pair.j);  // sum_m c_I c_J is the same, and only J <= I is made
  }
  pad_table(term, table.values);
  b.n_groups = static_cast<int>(term.block_of.size());
  b.table_stride = shape.table_per_group ? static_cast<std::ptrdiff_t>(term.table.size()) / b.n_groups : 0;
  const Shell &first = term.shells[0];
  term.centre_values.assign(first.n_row, 0.0);
  for (int channel = 0; channel < shape.n_channels; ++channel)
    for (int n = 0; n < first.n; ++n)
      term.centre_values[channel * first.n_padded + n] = centre_values[static_cast<std::size_t>(channel) * first.n + n];
  make_harmonics_coefficients(term);
  b.block_of = term.block_of.data();
  b.shells = term.shells.data();
  b.segments = term.segments.data();
  b.n_segments = static_cast<int>(term.segments.size());
  b.table = term.table.data();
  b.centre_values = term.centre_values.data();
  term.spectrum = {b.l_max, b.n_channels, b.shells, term.row_of.data(), term.row_start.data(), term.factor.data(),
                   term.pairs.data(), static_cast<int>(term.pairs.size())};
}

}  // namespace soapgap
