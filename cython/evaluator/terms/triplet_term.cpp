// SPDX-License-Identifier: BSD-3-Clause
#include "terms/triplet_term.hpp"

#include <algorithm>
#include <cmath>

#include "density/pair_source.hpp"
#include "simd/dispatch.hpp"

namespace soapgap {
namespace {

constexpr double pi = 3.14159265358979323846;
constexpr std::int64_t vector_width = 4;

// GAP's cutoff function and its derivative.
void cosine_cutoff(double r, double cutoff, double width, double &f, double &df) {
  const double t = (r - cutoff + width) / width;
  f = t <= 0.0 ? 1.0 : t >= 1.0 ? 0.0 : 0.5 * (std::cos(pi * t) + 1.0);
  df = t <= 0.0 || t >= 1.0 ? 0.0 : -0.5 * pi / width * std::sin(pi * t);
}

TripletKernel kernel_of(const TripletTerm &term) {
  TripletKernel k = {};
  k.angle = term.geometry == TripletTerm::angle;
  k.gaussian = term.kernel == TripletTerm::ard_se;
  k.dot = term.kernel == TripletTerm::dot_product;
  k.n_permutations = static_cast<int>(term.permutations.size() / 3);
  k.permutations = term.permutations.data();
  for (int a = 0; a < 3; ++a) k.inverse_theta[a] = 1.0 / term.theta[a];
  k.zeta = term.zeta;
  k.constant = term.constant;
  k.n_points = static_cast<std::ptrdiff_t>(term.scaled_weights.size());
  k.points = term.points.data();
  k.weights = term.scaled_weights.data();
  if (!term.grid) return k;
  k.grid = term.grid->values.data();
  k.stride[1] = term.grid->n[2];
  k.stride[0] = k.stride[1] * term.grid->n[1];
  for (int a = 0; a < 3; ++a) {
    k.inverse_h[a] = 1.0 / term.grid->h[a];
    k.n_cells[a] = term.grid->n[a] - 5;
  }
  return k;
}

void gather(const TripletTerm &term, const Neighbours &nb, std::int64_t centre, int species, std::vector<Near> &near) {
  near.clear();
  for (std::int64_t p = nb.offsets[centre]; p < nb.offsets[centre + 1]; ++p) {
    if (nb.neighbour_species[p] != species) continue;
    const double *v = nb.vectors + 3 * p;
    const double r2 = v[0] * v[0] + v[1] * v[1] + v[2] * v[2];
    if (!std::isfinite(r2)) refuse_vector(v);
    if (r2 >= term.cutoff * term.cutoff) continue;
    Near n;
    n.r = std::sqrt(r2);
    n.pair = p;
    for (int a = 0; a < 3; ++a) n.u[a] = n.r > 0.0 ? v[a] / n.r : 0.0;
    cosine_cutoff(n.r, term.cutoff, term.width, n.f, n.df);
    near.push_back(n);
  }
}

// Energy of one triplet; its gradients are added.
double add_triplet(const TripletTerm &term, const TripletKernel &kernel, const Near &j, const Near &k, double *gradients) {
  double d[3], r3 = 0.0;
  for (int a = 0; a < 3; ++a) {
    d[a] = k.r * k.u[a] - j.r * j.u[a];
    r3 += d[a] * d[a];
  }
  r3 = std::sqrt(r3);
  const double r[3] = {j.r, k.r, r3};
  double u[4], third = 1.0, d_third = 0.0;
  kernels().triplet_value(kernel, r, u);
  if (term.third_cutoff != 0.0) {
    double f, df;
    cosine_cutoff(r3, term.cutoff, term.width, f, df);
    third -= term.third_cutoff * f;
    d_third = -term.third_cutoff * df;
  }
  const double w = term.count * j.f * k.f * third;
  if (gradients) {
    const double along_j = w * u[1] + term.count * j.df * k.f * third * u[0];
    const double along_k = w * u[2] + term.count * j.f * k.df * third * u[0];
    const double across = r3 > 0.0 ? (w * u[3] + term.count * j.f * k.f * d_third * u[0]) / r3 : 0.0;
    for (int a = 0; a < 3; ++a) {
      gradients[3 * j.pair + a] += along_j * j.u[a] - across * d[a];
      gradients[3 * k.pair + a] += along_k * k.u[a] + across * d[a];
    }
  }
  return w * u[0];
}

}  // namespace

void prepare_triplet_term(TripletTerm &term, const std::vector<double> &points, const std::vector<double> &weights) {
  const std::int64_t n = static_cast<std::int64_t>(weights.size()), n_padded = (n + vector_width - 1) / vector_width * vector_width;
  const double delta2 = term.delta * term.delta;
  const bool dot = term.kernel == TripletTerm::dot_product;
  term.n_sparse = n;
  term.points.assign(static_cast<std::size_t>(3 * n_padded), 0.0);
  term.scaled_weights.assign(static_cast<std::size_t>(n_padded), 0.0);
  term.constant = 0.0;
  const TripletKernel kernel = kernel_of(term);
  for (std::int64_t s = 0; s < n; ++s) {
    double self[4] = {1.0, 0.0, 0.0, 0.0};
    if (!dot && kernel.n_permutations > 1) kernels().self_similarity(kernel, points.data() + 3 * s, self);
    term.scaled_weights[s] = weights[s] * delta2 / std::sqrt(self[0]);
    if (!dot) term.constant += weights[s] * term.f0 * term.f0;
    for (int a = 0; a < 3; ++a) term.points[a * n_padded + s] = points[3 * s + a] * (dot ? 1.0 : kernel.inverse_theta[a]);
  }
}

void add_triplet_term(const TripletTerm &term, const Neighbours &nb, std::int64_t centre, ThreadBuffers &b, double *energy,
                      double *gradients, double *shares) {
  if (nb.centre_species[centre] != term.centre) return;
  const TripletKernel kernel = kernel_of(term);
  const bool same = term.first == term.second, share_out = term.shared && shares;
  gather(term, nb, centre, term.first, b.near[0]);
  if (!same) gather(term, nb, centre, term.second, b.near[1]);
  const std::vector<Near> &first = b.near[0], &second = same ? b.near[0] : b.near[1];
  for (std::size_t j = 0; j < first.size(); ++j)
    for (std::size_t k = same ? j + 1 : 0; k < second.size(); ++k) {
      const double e = add_triplet(term, kernel, first[j], second[k], gradients);
      *energy += share_out ? e / 3.0 : e;
      if (!share_out) continue;
      shares[first[j].pair] += e / 3.0;
      shares[second[k].pair] += e / 3.0;
    }
}

}  // namespace soapgap
