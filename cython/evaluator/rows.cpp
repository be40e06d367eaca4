// What training and tests need of one SOAP term. SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>

#include "base/blas.hpp"
#include "simd/dispatch.hpp"
#include "features/invariants.hpp"
#include "kernel/sparse_kernel.hpp"

namespace soapgap {
namespace {

const SoapTerm &soap_term(const Model &model, int term) {
  if (!is_soap(model, term))
    throw Error("term " + std::to_string(term) + " is not a soap term of this model (it has " +
                std::to_string(model.n_terms()) + " terms): features and kernel rows exist for soap terms only");
  return model.data().soap_terms[model.data().terms[term].index];
}

// Rows need the sparse points one by one: a reduced form serves if it has them all, in their order and in full precision.
const SoapTerm &term_for_rows(const SoapTerm &term) {
  const SoapTerm *reduced = term.reduced.get();
  return reduced && reduced->form == SoapTerm::points && reduced->n_single == 0 ? *reduced : term;
}

// Calls f(row, batch index, buffers) for every centre of the term, after its forward half.
template <class Function>
void for_each_centre(const SoapTerm &term, Workspace &workspace, const Neighbours &nb, Function f) {
  const std::vector<std::int64_t> centres = centres_of(nb, term.centre);
  const std::int64_t n = static_cast<std::int64_t>(centres.size()), size = batch_size(n, 1);
  ThreadBuffers &b = workspace.data().threads[0];
  make_blas_serial();
  for (std::int64_t first = 0; first < n; first += size) {
    const int m = static_cast<int>(std::min(size, n - first));
    forward(term, nb, centres.data() + first, m, b);
    for (int i = 0; i < m; ++i) f(first + i, centres[first + i], i, b);
  }
}

// The distinct atoms of one environment, the centre first: images of one atom share a slot.
void assign_slots(const Environment &env, std::int64_t centre, const std::int64_t *neighbour_atom, ThreadBuffers &b) {
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

// rows[3 n_slots][d] = dp/dR of the slots' atoms, then rows[6][d] = dp/dstrain (xx yy zz yz xz xy).
void tangent_rows(const SoapTerm &term, const Environment &env, const double *c, const std::int64_t *neighbour_atom,
                  ThreadBuffers &b, double *rows) {
  const Kernels &kernel = kernels();
  const std::int64_t d = term.n_features, n_slots = static_cast<std::int64_t>(b.atom_of_slot.size());
  const std::int64_t plane = term.basis.n_c / term.basis.n_channels;
  double *strain = rows + 3 * n_slots * d, *dc = b.dc.reserve(3 * plane), *dp = b.de_dp.reserve(d);
  std::fill(rows, strain + 6 * d, 0.0);
  for (int group = 0; group < term.basis.n_groups; ++group)
    for (int j = env.first[group]; j < env.first[group] + env.count[group]; ++j) {
      kernel.neighbour_derivative(term.basis, env, group, j, b.scratch.data(), dc);
      const double vector[3] = {env.r[j] * env.x[j], env.r[j] * env.y[j], env.r[j] * env.z[j]};
      const std::int64_t slot = b.slot_of_atom[neighbour_atom[env.pair[j]]];
      for (int a = 0; a < 3; ++a) {
        kernel.power_spectrum_tangent(term.spectrum, c, dc + a * plane, term.basis.block_of[group], b.scratch.data(), dp);
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

}  // namespace

bool is_soap(const Model &model, int term) {
  return term >= 0 && term < model.n_terms() && model.data().terms[term].kind == TermPlace::soap;
}

std::int64_t n_sparse(const Model &model, int term) { return soap_term(model, term).n_sparse; }

std::int64_t n_features(const Model &model, int term) { return soap_term(model, term).n_features; }

void density_coefficients(const Model &model, Workspace &workspace, int term_index, const Neighbours &nb, double *out) {
  const SoapTerm &term = soap_term(model, term_index);
  const PowerSpectrum &ps = term.spectrum;
  for_each_centre(term, workspace, nb, [&](std::int64_t, std::int64_t, int i, ThreadBuffers &b) {
    const double *c = b.coefficients.data() + i * term.basis.n_c;
    for (int l = 0; l <= ps.l_max; ++l)
      for (int m = 0; m < 2 * l + 1; ++m)
        for (int k = 0; k < ps.n_channels * term.shells[l].n; ++k)
          *out++ = c[term.shells[l].c + std::ptrdiff_t(m) * term.shells[l].n_row + ps.row_of[ps.row_start[l] + k]];
  });
}

void features(const Model &model, Workspace &workspace, int term_index, const Neighbours &nb, double *x) {
  const SoapTerm &term = soap_term(model, term_index);
  for_each_centre(term, workspace, nb, [&](std::int64_t row, std::int64_t, int i, ThreadBuffers &b) {
    std::copy(b.x.data() + i * term.n_features, b.x.data() + (i + 1) * term.n_features, x + row * term.n_features);
  });
}

void kernel_rows(const Model &model, Workspace &workspace, int term_index, const Neighbours &nb,
                 const std::int64_t *centre_atom, const std::int64_t *neighbour_atom, double *energy_row,
                 double *gradient_rows, double *strain_rows) {
  const SoapTerm &term = term_for_rows(soap_term(model, term_index));
  if (term.n_sparse > 0 && term.sparse_points.empty())
    throw Error("this model was read for evaluation only: rows of a design matrix need one that was read whole");
  if (term.average >= 0)
    throw Error("rows of a design matrix are not made for averaged descriptors (one for a whole structure)");
  const std::int64_t d = term.n_features, n_kept = term.n_kept, n_s = term.n_sparse;
  std::int64_t n_atoms = 0;
  for (std::int64_t i = 0; i < nb.n_centres; ++i) n_atoms = std::max(n_atoms, centre_atom[i] + 1);
  if (nb.n_centres > 0)
    for (std::int64_t p = nb.offsets[0]; p < nb.offsets[nb.n_centres]; ++p)
      n_atoms = std::max(n_atoms, neighbour_atom[p] + 1);
  workspace.data().threads[0].slot_of_atom.assign(n_atoms, -1);
  const double delta2 = term.delta * term.delta;

  for_each_centre(term, workspace, nb, [&](std::int64_t, std::int64_t centre, int i, ThreadBuffers &b) {
    const double *x = b.x.data() + i * d;
    double *k = b.kernel.reserve(2 * n_s), *slope = k + n_s;
    gemm(true, 1, n_s, n_kept, kernel_input(term, b) + i * n_kept, n_kept, term.sparse_points.data(), n_kept, 0.0, k, n_s);
    for (std::int64_t s = 0; s < n_s; ++s) {
      const double base = k[s] + term.offset, lower = delta2 * kernels().power(base, term.zeta - 1.0);
      energy_row[s] += lower * base;
      slope[s] = term.zeta * lower;
    }
    if (!gradient_rows && !strain_rows) return;
    const Environment env = b.environments[i];
    assign_slots(env, centre_atom[centre], neighbour_atom, b);
    const std::int64_t n_slots = static_cast<std::int64_t>(b.atom_of_slot.size()), n_rows = 3 * n_slots + 6;
    double *rows = b.rows.reserve(n_rows * d), *out = b.row_kernel.reserve(n_rows * n_s);
    tangent_rows(term, env, b.coefficients.data() + i * term.basis.n_c, neighbour_atom, b, rows);
    for (std::int64_t row = 0; row < n_rows; ++row)
      project_out(term, x, b.norms.data()[i], rows + row * d, rows + row * d);
    const double *seen = rows;
    if (!term.kept.empty()) {
      double *kept = b.kept_rows.reserve(n_rows * n_kept);
      for (std::int64_t row = 0; row < n_rows; ++row) keep(term, rows + row * d, kept + row * n_kept);
      seen = kept;
    }
    gemm(true, n_rows, n_s, n_kept, seen, n_kept, term.sparse_points.data(), n_kept, 0.0, out, n_s);
    if (gradient_rows)
      for (std::int64_t row = 0; row < 3 * n_slots; ++row) {
        double *target = gradient_rows + (3 * b.atom_of_slot[row / 3] + row % 3) * n_s;
        for (std::int64_t s = 0; s < n_s; ++s) target[s] += slope[s] * out[row * n_s + s];
      }
    if (strain_rows)
      for (std::int64_t row = 0; row < 6; ++row)
        for (std::int64_t s = 0; s < n_s; ++s)
          strain_rows[row * n_s + s] += slope[s] * out[(3 * n_slots + row) * n_s + s];
    for (std::int64_t atom : b.atom_of_slot) b.slot_of_atom[atom] = -1;
  });
}

}  // namespace soapgap
