// Turns the parameters of a source into what the hot loops read. SPDX-License-Identifier: BSD-3-Clause
#include "density/source.hpp"

#include <cmath>

namespace soapgap {
namespace {

void make_harmonics_coefficients(Source &source) {
  const int l_max = source.layout.l_max(), n = triangle(l_max + 1, 0);
  source.harmonics_a.assign(n, 0.0);
  source.harmonics_b.assign(n, 0.0);
  source.harmonics_e.assign(n, 0.0);
  for (int l = 0; l <= l_max; ++l)
    for (int m = 0; m <= l; ++m) {
      const int at = triangle(l, m);
      const double l2 = double(l) * l, m2 = double(m) * m, up2 = double(l - 1) * (l - 1);
      source.harmonics_e[at] = std::sqrt(double(l - m) * (l + m + 1));
      if (m == l)
        source.harmonics_a[at] = l == 0 ? 1.0 : std::sqrt((2.0 * l + 1.0) / (2.0 * l));
      else
        source.harmonics_a[at] = std::sqrt((4.0 * l2 - 1.0) / (l2 - m2));
      if (m <= l - 2) source.harmonics_b[at] = -std::sqrt((up2 - m2) / (4.0 * up2 - 1.0));
    }
}

// values: [..][3][sum of n_of_l] without padding.
void pad_table(Source &source, const std::vector<double> &values) {
  const CoefficientLayout &layout = source.layout;
  int n_functions = 0;
  for (const Shell &shell : layout.shells) n_functions += shell.n;
  if (n_functions == 0) return;
  const std::size_t n_rows = values.size() / static_cast<std::size_t>(n_functions);
  source.table.assign(n_rows * layout.n_radial, 0.0);
  const double *from = values.data();
  for (std::size_t row = 0; row < n_rows; ++row)
    for (const Shell &shell : layout.shells)
      for (int n = 0; n < shell.n; ++n) source.table[row * layout.n_radial + shell.radial + n] = *from++;
}

void pad_centre_values(Source &source, const std::vector<double> &values) {
  const Shell &first = source.layout.shells[0];
  source.centre_values.assign(first.n_row, 0.0);
  for (int channel = 0; channel < source.layout.n_channels; ++channel)
    for (int n = 0; n < first.n; ++n)
      source.centre_values[channel * first.n_padded + n] = values[static_cast<std::size_t>(channel) * first.n + n];
}

}  // namespace

Source make_source(const SourceShape &shape, const RadialTable &table, const std::vector<double> &centre_values) {
  Source source;
  source.group_of_species = shape.group_of_species;
  source.layout = make_layout(shape.n_channels, shape.n_of_l);
  source.segments = table.segments;
  source.block_of = shape.block_of;
  pad_table(source, table.values);
  pad_centre_values(source, centre_values);
  make_harmonics_coefficients(source);
  DensityBasis &b = source.basis;
  b.l_max = source.layout.l_max();
  b.n_channels = source.layout.n_channels;
  b.n_groups = static_cast<int>(source.block_of.size());
  b.block_of = source.block_of.data();
  b.shells = source.layout.shells.data();
  b.n_c = source.layout.n_c;
  b.n_radial = source.layout.n_radial;
  b.cutoff = table.stop();
  b.segments = source.segments.data();
  b.n_segments = static_cast<int>(source.segments.size());
  b.table = source.table.data();
  b.table_stride = shape.table_per_group ? static_cast<std::ptrdiff_t>(source.table.size()) / b.n_groups : 0;
  b.centre_values = source.centre_values.data();
  b.harmonics = {b.l_max, source.harmonics_a.data(), source.harmonics_b.data(), source.harmonics_e.data()};
  return source;
}

}  // namespace soapgap
