// Rows of the design matrix of a soap term. SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>

#include "base/blas.hpp"
#include "base/loops.hpp"
#include "density/loops.hpp"
#include "features/loops.hpp"
#include "kernel/loops.hpp"
#include "terms/soap_term.hpp"

namespace soapgap {
namespace {

struct SoapRowBuffers {
  Buffer k, dc, dp, rows, kept_rows, products;
  std::vector<std::int64_t> slot_of_atom, atom_of_slot;
};

// The distinct atoms of one environment, the centre first: images of one atom share a slot.
void assign_slots(const Environment &env, std::int64_t centre, const std::int64_t *neighbour_atom, SoapRowBuffers &b) {
  b.atom_of_slot.assign(1, centre);
  b.slot_of_atom[centre] = 0;
  for (int j = 0; j < env.n_padded; ++j) {
    if (env.pair[j] < 0) continue;
    std::int64_t &slot = b.slot_of_atom[neighbour_atom[env.pair[j]]];
    if (slot >= 0) continue;
    slot = static_cast<std::int64_t>(b.atom_of_slot.size());
    b.atom_of_slot.push_back(neighbour_atom[env.pair[j]]);
  }
}

// rows[3 n_slots][n] = dp/dR of the slots' atoms, then rows[6][n] = dp/dstrain (xx yy zz yz xz xy).
void tangent_rows(const SoapForm &form, const Environment &env, const double *c, const std::int64_t *neighbour_atom,
                  double *scratch, SoapRowBuffers &b, double *rows) {
  const DensityBasis &basis = form.source.basis;
  const std::int64_t d = form.features.n, n_slots = static_cast<std::int64_t>(b.atom_of_slot.size());
  const std::int64_t plane = basis.n_c / basis.n_channels;
  double *strain = rows + 3 * n_slots * d, *dc = b.dc.reserve(3 * plane), *dp = b.dp.reserve(d);
  std::fill(rows, strain + 6 * d, 0.0);
  for (int group = 0; group < basis.n_groups; ++group)
    for (int j = env.first[group]; j < env.first[group] + env.count[group]; ++j) {
      density_loops().neighbour_derivative(basis, env, group, j, scratch, dc);
      const double vector[3] = {env.r[j] * env.x[j], env.r[j] * env.y[j], env.r[j] * env.z[j]};
      const std::int64_t slot = b.slot_of_atom[neighbour_atom[env.pair[j]]];
      for (int a = 0; a < 3; ++a) {
        feature_loops().power_spectrum_tangent(form.features.spectrum, c, dc + a * plane, basis.block_of[group], scratch, dp);
        // dE/dstrain_ab = sum r_a dE/dr_b, symmetrised: off-diagonal components get half of ab and half of ba
        const int voigt[3][3] = {{0, 5, 4}, {5, 1, 3}, {4, 3, 2}};
        double share[6] = {0, 0, 0, 0, 0, 0};
        for (int other = 0; other < 3; ++other) share[voigt[a][other]] += (a == other ? 1.0 : 0.5) * vector[other];
        double *own = rows + a * d, *his = rows + (3 * slot + a) * d;
        for (std::int64_t k = 0; k < d; ++k) {
          own[k] -= dp[k];
          his[k] += dp[k];
        }
        for (int v = 0; v < 6; ++v)
          if (share[v] != 0.0)
            for (std::int64_t k = 0; k < d; ++k) strain[v * d + k] += share[v] * dp[k];
      }
    }
}

// target[row of each slot's atom] += slope products, and the six strain rows after them.
void spread(const SoapRowBuffers &b, const double *slope, const double *products, std::int64_t n_s, const Rows &rows) {
  const std::int64_t n_gradients = 3 * static_cast<std::int64_t>(b.atom_of_slot.size());
  for (std::int64_t row = 0; row < n_gradients + 6; ++row) {
    double *target = nullptr;
    if (row >= n_gradients)
      target = rows.strain ? rows.strain + (row - n_gradients) * n_s : nullptr;
    else if (rows.gradients)
      target = rows.gradients + (3 * b.atom_of_slot[row / 3] + row % 3) * n_s;
    for (std::int64_t s = 0; target && s < n_s; ++s) target[s] += slope[s] * products[row * n_s + s];
  }
}

// The gradient and strain rows of centre i of the batch.
void derivative_rows(const SoapForm &form, const System &system, std::int64_t centre, int i, SoapBuffers &forward,
                     SoapRowBuffers &b, const double *slope, const Rows &rows) {
  const Features &f = form.features;
  const std::int64_t n_s = form.kernel.n_sparse;
  const Environment env = forward.environments[i];
  assign_slots(env, system.centre_atom[centre], system.neighbour_atom, b);
  const std::int64_t n_rows = 3 * static_cast<std::int64_t>(b.atom_of_slot.size()) + 6;
  double *tangents = b.rows.reserve(n_rows * f.n), *products = b.products.reserve(n_rows * n_s);
  tangent_rows(form, env, forward.c(form, i), system.neighbour_atom, forward.scratch.data(), b, tangents);
  for (std::int64_t row = 0; row < n_rows; ++row)
    project_out(f, forward.features(form, i), forward.norms.data()[i], tangents + row * f.n, tangents + row * f.n);
  const double *seen = tangents;
  if (!f.kept.empty()) {
    double *kept = b.kept_rows.reserve(n_rows * f.n_kept);
    for (std::int64_t row = 0; row < n_rows; ++row) keep(f, tangents + row * f.n, kept + row * f.n_kept);
    seen = kept;
  }
  gemm(true, n_rows, n_s, f.n_kept, seen, f.n_kept, form.kernel.points.data(), f.n_kept, 0.0, products, n_s);
  spread(b, slope, products, n_s, rows);
  for (std::int64_t atom : b.atom_of_slot) b.slot_of_atom[atom] = -1;
}

}  // namespace

void SoapTerm::rows(const System &system, const Batch &batch, ThreadBuffers &buffers, const Rows &rows) const {
  const SoapForm &form = reduced_rows_ ? *reduced_ : exact_;
  const std::int64_t n_s = form.kernel.n_sparse;
  if (n_s > 0 && !whole_)
    throw Error("this model was read for evaluation only: rows of a design matrix need one that was read whole");
  SoapBuffers &b = buffers.of<SoapBuffers>();
  SoapRowBuffers &r = buffers.of<SoapRowBuffers>();
  r.slot_of_atom.assign(system.n_atoms, -1);
  forward(form, system.neighbours, batch, b, buffers.watch);
  double *k = r.k.reserve(2 * n_s), *slope = k + n_s;
  for (int i = 0; i < batch.n; ++i) {
    const std::int64_t centre = batch.centres[i];
    kernel_row(form.kernel, b.seen(form) + i * form.features.n_kept, k, slope);
    row_loops().add_scaled(1.0, k, n_s, rows.energy);
    if (rows.local) row_loops().add_scaled(1.0, k, n_s, rows.local + system.centre_atom[centre] * n_s);
    if (rows.gradients || rows.strain) derivative_rows(form, system, centre, i, b, r, slope, rows);
  }
}

}  // namespace soapgap
