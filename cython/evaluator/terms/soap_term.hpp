// SOAP of one centre species: Source -> Features -> Kernel. SPDX-License-Identifier: BSD-3-Clause
//
//   v_o = sum_s weights_os delta^2 (x . X_s + offset)^zeta,   x = p / |p|
#pragma once

#include <memory>
#include <vector>

#include "base/buffer.hpp"
#include "density/environment.hpp"
#include "density/source.hpp"
#include "features/features.hpp"
#include "kernel/sparse_kernel.hpp"
#include "terms/term.hpp"

namespace soapgap {

// Three stages that do not know one another: neighbours -> c -> x -> outputs.
struct SoapForm {
  Source source;
  Features features;
  Kernel kernel;
};

// What `forward` leaves of a batch for what comes after it.
struct SoapBuffers {
  EnvironmentBatch environments;
  Buffer scratch, coefficients, x, x_kept, norms;       // [n][n_c], [n][n], [n][n_kept], [n]
  Buffer kernel, values, adjoint, dl_dx, dl_dp, dl_dc;  // of evaluation
  const double *c(const SoapForm &form, int i) const { return coefficients.data() + i * form.source.layout.n_c; }
  const double *features(const SoapForm &form, int i) const { return x.data() + i * form.features.n; }
  // What the kernel sees of x, for all centres of the batch.
  const double *seen(const SoapForm &form) const { return form.features.kept.empty() ? x.data() : x_kept.data(); }
};

// Neighbours -> c -> x of a batch.
void forward(const SoapForm &, const Neighbours &, const Batch &, SoapBuffers &, Stopwatch &);

class SoapTerm : public Term {
 public:
  // reduced: the same function at less cost (docs/performance.md), for evaluation; may be null. reduced_rows: whether it has all
  // sparse points in their order, so that it serves for rows, too.
  SoapTerm(int centre, SoapForm exact, std::unique_ptr<SoapForm> reduced, bool reduced_rows);
  double cutoff() const override { return exact_.source.basis.cutoff; }
  bool has_centre(int species) const override { return species == centre_; }
  void evaluate(const Job &, const Batch &, ThreadBuffers &) const override;
  std::int64_t n_sparse() const override { return exact_.kernel.n_sparse; }
  void rows(const System &, const Batch &, ThreadBuffers &, const Rows &) const override;
  void keep_for_evaluation_only() override;
  int centre() const { return centre_; }
  const SoapForm &exact() const { return exact_; }

 private:
  int centre_;
  SoapForm exact_;
  std::unique_ptr<SoapForm> reduced_;
  bool reduced_rows_, whole_ = true;
};

}  // namespace soapgap
