// SPDX-License-Identifier: BSD-3-Clause
#include "features/features.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/loops.hpp"
#include "features/loops.hpp"

namespace soapgap {

Features make_features(const CoefficientLayout &layout, const FeatureShape &shape) {
  Features f;
  f.normalise = shape.normalise;
  f.shells = layout.shells;
  f.factor = shape.l_factors;
  f.pairs = shape.pairs;
  for (const Shell &shell : f.shells) {
    const std::int64_t n = static_cast<std::int64_t>(layout.n_channels) * shell.n;
    f.n += f.pairs.empty() ? n * (n + 1) / 2 : static_cast<std::int64_t>(f.pairs.size());
    f.n_scratch = std::max(f.n_scratch, std::ptrdiff_t(shell.n_row) * shell.n_row);
    f.row_start.push_back(static_cast<int>(f.row_of.size()));
    for (int channel = 0; channel < layout.n_channels; ++channel)
      for (int k = 0; k < shell.n; ++k) f.row_of.push_back(channel * shell.n_padded + k);
  }
  for (ChannelPair &pair : f.pairs) {
    pair.i = f.row_of[pair.i];
    pair.j = f.row_of[pair.j];
    if (pair.j > pair.i) std::swap(pair.i, pair.j);  // sum_m c_I c_J is the same, and only J <= I is made
  }
  f.n_kept = f.n;
  f.spectrum = {layout.l_max(),       layout.n_channels, f.shells.data(), f.row_of.data(),
                f.row_start.data(), f.factor.data(),   f.pairs.data(),  static_cast<int>(f.pairs.size())};
  return f;
}

double features_of(const Features &f, const double *c, double *scratch, double *x) {
  const RowLoops &rows = row_loops();
  feature_loops().power_spectrum(f.spectrum, c, scratch, x);
  const double norm = std::sqrt(rows.dot(x, x, f.n));
  if (f.normalise && norm > 0.0) rows.subtract_and_scale(x, 0.0, x, 1.0 / norm, f.n, x);
  return norm;
}

void keep(const Features &f, const double *x, double *seen) {
  for (std::int64_t k = 0; k < f.n_kept; ++k) seen[k] = x[f.kept[k]];
}

void project_out(const Features &f, const double *x, double norm, const double *v, double *out) {
  if (!f.normalise) {
    if (out != v) std::copy(v, v + f.n, out);
    return;
  }
  if (norm == 0.0) {  // no neighbours and no centre term: x = 0 by definition
    std::fill(out, out + f.n, 0.0);
    return;
  }
  const RowLoops &rows = row_loops();
  rows.subtract_and_scale(v, rows.dot(x, v, f.n), x, 1.0 / norm, f.n, out);
}

// project_out of a v that is zero but for the kept features.
static void project_kept_out(const Features &f, const double *x, const double *seen, double norm, const double *v, double *out) {
  const RowLoops &rows = row_loops();
  double scale = 1.0;
  if (!f.normalise || norm == 0.0) {
    std::fill(out, out + f.n, 0.0);
    if (f.normalise) return;
  } else {
    scale = 1.0 / norm;
    rows.subtract_and_scale(x, 0.0, x, -scale * rows.dot(seen, v, f.n_kept), f.n, out);
  }
  for (std::int64_t k = 0; k < f.n_kept; ++k) out[f.kept[k]] += scale * v[k];
}

void pull_back_features(const Features &f, const double *c, const double *x, const double *seen, double norm,
                        const double *dl_dseen, double *scratch, double *dp, double *dl_dc) {
  if (f.kept.empty())
    project_out(f, x, norm, dl_dseen, dp);
  else
    project_kept_out(f, x, seen, norm, dl_dseen, dp);
  feature_loops().pull_back_power_spectrum(f.spectrum, c, dp, scratch, dl_dc);
}

}  // namespace soapgap
