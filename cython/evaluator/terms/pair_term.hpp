// Terms made of functions of one distance. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <memory>
#include <vector>

#include "density/tabulated.hpp"
#include "terms/term.hpp"

namespace soapgap {

// The Gaussian process behind a pair term, for rows of a design matrix (pair_kernel.hpp).
struct PairProcess {
  bool septic = false;  // the cutoff function, otherwise the cosine
  double width = 0.0;   // of its transition, Angstrom
  double theta = 0.0;   // Angstrom
  std::int64_t n_sparse = 0;
  std::vector<double> points, factors;  // X_s and F_s delta^2, padded to the vector width with zeros
};

// v_o = sum over neighbours j of V_o(r_ij), for one unordered pair of species.
class PairTerm : public Term {
 public:
  // The table ends at the cutoff and has n_out functions; process may be null.
  PairTerm(int first, int second, RadialTable table, std::unique_ptr<PairProcess> process);
  double cutoff() const override { return table_.stop(); }
  bool has_centre(int species) const override { return species == first_ || species == second_; }
  void evaluate(const Job &, const Batch &, ThreadBuffers &) const override;
  std::int64_t n_sparse() const override { return process_ ? process_->n_sparse : 0; }
  void rows(const System &, const Batch &, ThreadBuffers &, const Rows &) const override;

 private:
  int first_, second_;
  RadialTable table_;
  std::unique_ptr<PairProcess> process_;
};

// An embedded atom: v_o = U_o(rho_i), rho_i = sum over neighbours j of n_j(r_ij); U goes on in straight lines at both ends of its
// table.
class EmbeddingTerm : public Term {
 public:
  // density: of each species of the model; no segments: none. energy has n_out functions.
  EmbeddingTerm(int centre, double cutoff, std::vector<RadialTable> density, RadialTable energy);
  double cutoff() const override { return cutoff_; }
  bool has_centre(int species) const override { return species == centre_; }
  void evaluate(const Job &, const Batch &, ThreadBuffers &) const override;

 private:
  int centre_;
  double cutoff_;
  std::vector<RadialTable> density_;
  RadialTable energy_;
};

// |r_ij|; throws Error where it is not finite.
double distance(const double *vector);

}  // namespace soapgap
