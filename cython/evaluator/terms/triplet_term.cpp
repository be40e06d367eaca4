// SPDX-License-Identifier: BSD-3-Clause
#include "terms/triplet_term.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "base/cutoff.hpp"
#include "terms/loops.hpp"

namespace soapgap {
namespace {

constexpr std::int64_t vector_width = 4;

struct TripletBuffers {
  std::vector<Near> near[2];
};

// Whether exchanging two like neighbours changes the output.
bool is_ordered(const TripletShape &shape) {
  if (shape.first != shape.second || shape.angle) return false;
  if (shape.kernel == TripletShape::dot_product || shape.theta[0] != shape.theta[1]) return true;
  std::vector<std::array<int, 3>> orders, exchanged;
  for (std::size_t p = 0; p < shape.permutations.size(); p += 3) {
    const int *pi = shape.permutations.data() + p;
    orders.push_back({pi[0], pi[1], pi[2]});
    exchanged.push_back({pi[0] == 2 ? 2 : 1 - pi[0], pi[1] == 2 ? 2 : 1 - pi[1], pi[2] == 2 ? 2 : 1 - pi[2]});
  }
  std::sort(orders.begin(), orders.end());
  std::sort(exchanged.begin(), exchanged.end());
  return orders != exchanged;
}

}  // namespace

TripletTerm::TripletTerm(TripletShape shape, int n_out, std::unique_ptr<TripletGrid> grid)
    : shape_(std::move(shape)), grid_(std::move(grid)) {
  prepare(n_out);
}

TripletKernel TripletTerm::kernel_of(int output) const {
  TripletKernel k = {};
  k.angle = shape_.angle;
  k.gaussian = shape_.kernel == TripletShape::ard_se;
  k.dot = shape_.kernel == TripletShape::dot_product;
  k.n_permutations = static_cast<int>(shape_.permutations.size() / 3);
  k.permutations = shape_.permutations.data();
  for (int a = 0; a < 3; ++a) k.inverse_theta[a] = 1.0 / shape_.theta[a];
  k.zeta = shape_.zeta;
  k.constant = constants_[output];
  k.n_points = static_cast<std::ptrdiff_t>(row_factors_.size());
  k.points = points_.data();
  k.weights = weights_.data() + output * k.n_points;
  k.factors = row_factors_.data();
  k.constants = row_constants_.data();
  if (!grid_) return k;
  k.stride[1] = grid_->n[2];
  k.stride[0] = k.stride[1] * grid_->n[1];
  k.grid = grid_->values.data() + output * k.stride[0] * grid_->n[0];
  for (int a = 0; a < 3; ++a) {
    k.inverse_h[a] = 1.0 / grid_->h[a];
    k.n_cells[a] = grid_->n[a] - 5;
  }
  return k;
}

// Points and weights as the loops want them: divided by theta, normalised over permutations, padded.
void TripletTerm::prepare(int n_out) {
  const std::int64_t n = shape_.n_sparse, n_padded = (n + vector_width - 1) / vector_width * vector_width;
  const double delta2 = shape_.delta * shape_.delta, f02 = shape_.f0 * shape_.f0;
  const bool dot = shape_.kernel == TripletShape::dot_product;
  points_.assign(static_cast<std::size_t>(3 * n_padded), 0.0);
  weights_.assign(static_cast<std::size_t>(n_out * n_padded), 0.0);
  row_factors_.assign(static_cast<std::size_t>(n_padded), 0.0);
  row_constants_ = row_factors_;
  constants_.assign(static_cast<std::size_t>(n_out), 0.0);
  const TripletKernel kernel = kernel_of(0);
  for (std::int64_t s = 0; s < n; ++s) {
    double self[4] = {1.0, 0.0, 0.0, 0.0};
    const double *point = shape_.points.data() + 3 * s, factor = shape_.factors.empty() ? 1.0 : shape_.factors[s];
    if (!dot && kernel.n_permutations > 1) few_body_loops().self_similarity(kernel, point, self);
    for (int o = 0; o < n_out; ++o) {
      const double weight = shape_.weights[o * n + s];
      weights_[o * n_padded + s] = weight * delta2 / std::sqrt(self[0]);
      if (!dot) constants_[o] += weight * shape_.f0 * shape_.f0;
    }
    row_factors_[s] = factor * delta2 / std::sqrt(self[0]);
    row_constants_[s] = dot ? 0.0 : factor * f02;
    for (int a = 0; a < 3; ++a) points_[a * n_padded + s] = point[a] * (dot ? 1.0 : kernel.inverse_theta[a]);
  }
  for (int o = 0; o < n_out; ++o) kernels_.push_back(kernel_of(o));
}

Needs TripletTerm::needs() const {
  Needs needs;
  needs.handed = shape_.shared;
  needs.order = is_ordered(shape_);
  return needs;
}

void TripletTerm::gather(const Neighbours &nb, std::int64_t centre, int species, std::vector<Near> &near) const {
  near.clear();
  for (std::int64_t p = nb.offsets[centre]; p < nb.offsets[centre + 1]; ++p) {
    if (nb.neighbour_species[p] != species) continue;
    const double *v = nb.vectors + 3 * p;
    const double r2 = v[0] * v[0] + v[1] * v[1] + v[2] * v[2];
    if (!std::isfinite(r2)) refuse_vector(v);
    if (r2 >= shape_.cutoff * shape_.cutoff) continue;
    Near n;
    n.r = std::sqrt(r2);
    n.pair = p;
    for (int a = 0; a < 3; ++a) n.u[a] = n.r > 0.0 ? v[a] / n.r : 0.0;
    cosine_cutoff(n.r, shape_.cutoff, shape_.width, n.f, n.df);
    near.push_back(n);
  }
}

void TripletTerm::add_triplet(const Job &job, std::int64_t centre, const Near &j, const Near &k) const {
  const Triangle t = triangle_of(j, k);
  const bool hand_over = shape_.shared && job.handed;
  double u[4], pulled[4] = {0.0, 0.0, 0.0, 0.0};  // sum over outputs of dL/d(output) times u and its derivatives
  for (int o = 0; o < job.n_out; ++o) {
    few_body_loops().triplet_value(kernels_[o], t.r, u);
    const double e = t.w * u[0];
    job.values[centre * job.n_out + o] += hand_over ? e / 3.0 : e;
    if (hand_over) {
      job.handed[j.pair * job.n_out + o] += e / 3.0;
      job.handed[k.pair * job.n_out + o] += e / 3.0;
    }
    if (job.n_out == 1 && !job.adjoint) {
      std::copy(u, u + 4, pulled);
      break;
    }
    for (int a = 0; a < 4; ++a) pulled[a] += job.pull(centre, o) * u[a];
  }
  if (!job.backward) return;
  const double along_j = t.w * pulled[1] + t.dw[0] * pulled[0], along_k = t.w * pulled[2] + t.dw[1] * pulled[0];
  const double across = t.r[2] > 0.0 ? (t.w * pulled[3] + t.dw[2] * pulled[0]) / t.r[2] : 0.0;
  for (int a = 0; a < 3; ++a) {
    job.pairs[3 * j.pair + a] += along_j * j.u[a] - across * t.d[a];
    job.pairs[3 * k.pair + a] += along_k * k.u[a] + across * t.d[a];
  }
}

void TripletTerm::evaluate(const Job &job, const Batch &batch, ThreadBuffers &buffers) const {
  std::vector<Near> *near = buffers.of<TripletBuffers>().near;
  for (int i = 0; i < batch.n; ++i) {
    const std::int64_t centre = batch.centres[i];
    for_each_triplet(job.neighbours(), centre, near, [&](const Near &j, const Near &k) { add_triplet(job, centre, j, k); });
  }
}

}  // namespace soapgap
