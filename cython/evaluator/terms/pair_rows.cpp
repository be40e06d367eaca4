// Rows of the design matrix of a distance_2b term. SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <vector>

#include "base/buffer.hpp"
#include "base/cutoff.hpp"
#include "base/loops.hpp"
#include "terms/loops.hpp"
#include "terms/pair_term.hpp"

namespace soapgap {
namespace {

struct PairRowBuffers {
  Buffer rows;
};

// Where the derivative with respect to one distance goes: to the atom at its head, its negative to that at its tail, and to strain,
// for the unit vector u and the vector v.
struct Targets {
  double *rows[12];
  double scales[12];
  int n = 0;
  void add(double *row, double scale) {
    rows[n] = row;
    scales[n++] = scale;
  }
};

}  // namespace

void PairTerm::rows(const System &system, const Batch &batch, ThreadBuffers &buffers, const Rows &rows) const {
  if (!process_) return Term::rows(system, batch, buffers, rows);
  const Neighbours &nb = system.neighbours;
  const PairProcess &process = *process_;
  const std::int64_t n_s = process.n_sparse, n = static_cast<std::int64_t>(process.points.size());
  const PairKernel kernel = {process.theta, n, process.points.data(), process.factors.data()};
  static const int axes[6][2] = {{0, 0}, {1, 1}, {2, 2}, {1, 2}, {0, 2}, {0, 1}};
  double *energy = buffers.of<PairRowBuffers>().rows.reserve(6 * n), *value = energy + n, *slope = value + n, *own = slope + n;
  for (int i = 0; i < batch.n; ++i) {
    const std::int64_t centre = batch.centres[i];
    const std::int32_t other = nb.centre_species[centre] == first_ ? second_ : first_;
    std::fill(energy, energy + n, 0.0);
    std::fill(own, own + 3 * n, 0.0);
    for (std::int64_t p = nb.offsets[centre]; p < nb.offsets[centre + 1]; ++p) {
      if (nb.neighbour_species[p] != other) continue;
      const double *v = nb.vectors + 3 * p, r = distance(v);
      if (r >= cutoff()) continue;
      double f, df;
      (process.septic ? septic_cutoff : cosine_cutoff)(r, cutoff(), process.width, f, df);
      few_body_loops().gaussian_row(kernel, r, f, df, value, slope);
      row_loops().add_scaled(1.0, value, n_s, energy);
      if (r == 0.0) continue;  // no direction
      Targets to;
      for (int a = 0; rows.gradients && a < 3; ++a) {
        to.add(own + a * n, -v[a] / r);
        to.add(rows.gradients + (3 * system.neighbour_atom[p] + a) * n_s, v[a] / r);
      }
      for (int k = 0; rows.strain && k < 6; ++k) to.add(rows.strain + k * n_s, v[axes[k][0]] / r * v[axes[k][1]]);
      row_loops().add_to_each(slope, n_s, to.n, to.scales, to.rows);
    }
    const std::int64_t atom = system.centre_atom[centre];
    row_loops().add_scaled(1.0, energy, n_s, rows.energy);
    if (rows.local) row_loops().add_scaled(1.0, energy, n_s, rows.local + atom * n_s);
    for (int a = 0; rows.gradients && a < 3; ++a)
      row_loops().add_scaled(1.0, own + a * n, n_s, rows.gradients + (3 * atom + a) * n_s);
  }
}

}  // namespace soapgap
