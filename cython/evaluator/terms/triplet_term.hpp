// Terms of three atoms. SPDX-License-Identifier: BSD-3-Clause
//
//   v_i = count sum over unordered pairs of neighbours {j, k} of  f(r_ij) f(r_ik) (1 - third_cutoff f(r_jk)) u(x),
//   u = sum_s weights_s k(x, X_s),   f = the cosine cutoff function,
// k the kernel with delta^2, f0^2 and its normalisation over permutations (triplet_kernel.hpp).
#pragma once

#include <cmath>
#include <memory>
#include <vector>

#include "base/cutoff.hpp"
#include "terms/term.hpp"
#include "terms/triplet_kernel.hpp"

namespace soapgap {

// A triplet term as the file says it.
struct TripletShape {
  enum Kernel { ard_se, piecewise_polynomial, dot_product } kernel = ard_se;
  bool angle = false;            // x = (r_1 + r_2, (r_1 - r_2)^2, r_12), otherwise the distances themselves
  int centre, first, second;     // species; x has the neighbours in this order
  double cutoff, width;          // Angstrom
  double delta, f0, zeta, theta[3];
  double count, third_cutoff;
  bool shared = false;           // by thirds among the three atoms, instead of the centre having it all
  std::vector<int> permutations; // [n_permutations][3]
  std::int64_t n_sparse = 0;
  std::vector<double> points;    // [n_sparse][3]
  std::vector<double> weights;   // [n_out][n_sparse]
  std::vector<double> factors;   // [n_sparse] F_s, in rows; empty: 1
};

// u in quintic B-splines on a grid of x.
struct TripletGrid {
  double h[3];
  int n[3];                    // coefficients along each axis
  std::vector<double> values;  // [n_out][n0][n1][n2], and a few numbers that are read but not used
};

// A neighbour within a triplet term's cutoff: unit vector, distance, cutoff function and its derivative.
struct Near {
  double u[3], r, f, df;
  std::int64_t pair;
};

class TripletTerm : public Term {
 public:
  TripletTerm(TripletShape shape, int n_out, std::unique_ptr<TripletGrid> grid);
  double cutoff() const override { return shape_.cutoff; }
  bool has_centre(int species) const override { return species == shape_.centre; }
  Needs needs() const override;
  void evaluate(const Job &, const Batch &, ThreadBuffers &) const override;
  std::int64_t n_sparse() const override { return shape_.n_sparse; }
  void rows(const System &, const Batch &, ThreadBuffers &, const Rows &) const override;

 private:
  void prepare(int n_out);
  TripletKernel kernel_of(int output) const;
  void gather(const Neighbours &, std::int64_t centre, int species, std::vector<Near> &) const;
  // Calls f(j, k) for every unordered pair of neighbours of a centre; near[2] are buffers.
  template <class Function>
  void for_each_triplet(const Neighbours &, std::int64_t centre, std::vector<Near> *near, Function f) const;
  struct Triangle;
  Triangle triangle_of(const Near &j, const Near &k) const;
  void add_triplet(const Job &, std::int64_t centre, const Near &j, const Near &k) const;
  TripletShape shape_;
  std::unique_ptr<TripletGrid> grid_;
  // storage of the kernels: points [3][n_padded] X / theta (dot_product: X), weights [n_out][n_padded]
  std::vector<double> points_, weights_, row_factors_, row_constants_, constants_;
  std::vector<TripletKernel> kernels_;  // of each output
};

// The third side of a triplet and the weight that its cutoff functions make: w = count f_j f_k (1 - third_cutoff f(r_jk)).
struct TripletTerm::Triangle {
  double r[3];    // r_ij, r_ik, r_jk
  double d[3];    // from j to k
  double w, dw[3];
};

inline TripletTerm::Triangle TripletTerm::triangle_of(const Near &j, const Near &k) const {
  Triangle t;
  double r3 = 0.0, third = 1.0, d_third = 0.0;
  for (int a = 0; a < 3; ++a) {
    t.d[a] = k.r * k.u[a] - j.r * j.u[a];
    r3 += t.d[a] * t.d[a];
  }
  r3 = std::sqrt(r3);
  t.r[0] = j.r;
  t.r[1] = k.r;
  t.r[2] = r3;
  if (shape_.third_cutoff != 0.0) {
    double f, df;
    cosine_cutoff(r3, shape_.cutoff, shape_.width, f, df);
    third -= shape_.third_cutoff * f;
    d_third = -shape_.third_cutoff * df;
  }
  t.w = shape_.count * j.f * k.f * third;
  t.dw[0] = shape_.count * j.df * k.f * third;
  t.dw[1] = shape_.count * j.f * k.df * third;
  t.dw[2] = shape_.count * j.f * k.f * d_third;
  return t;
}

template <class Function>
void TripletTerm::for_each_triplet(const Neighbours &nb, std::int64_t centre, std::vector<Near> *near, Function f) const {
  const bool same = shape_.first == shape_.second;
  gather(nb, centre, shape_.first, near[0]);
  if (!same) gather(nb, centre, shape_.second, near[1]);
  const std::vector<Near> &first = near[0], &second = same ? near[0] : near[1];
  for (std::size_t j = 0; j < first.size(); ++j)
    for (std::size_t k = same ? j + 1 : 0; k < second.size(); ++k) f(first[j], second[k]);
}

}  // namespace soapgap
