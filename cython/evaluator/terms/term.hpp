// What every kind of term can do; one virtual call per batch of centres. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>

#include "base/batch.hpp"
#include "base/workspace.hpp"
#include "soapgap.hpp"

namespace soapgap {

// One call of `evaluate`, the same for all terms and batches.
struct Job {
  const System &system;
  int n_out;                                // of the property
  const double *sums;                       // as `accumulate` makes them; null if no term needs any
  double *values, *handed;                  // as in Outputs
  bool backward;                            // whether derivatives are asked for
  const double *adjoint;                    // as Adjoint::values
  int output;                               // as Adjoint::output
  double *pairs, *atoms, *strain;           // as in Adjoint
  const Neighbours &neighbours() const { return system.neighbours; }
  // dL/d(values) of one output of one centre.
  double pull(std::int64_t centre, int o) const { return adjoint ? adjoint[centre * n_out + o] : o == output ? 1.0 : 0.0; }
};

// A term adds to the outputs of its centres. It is immutable, and many threads use it at once.
class Term {
 public:
  virtual ~Term() = default;
  virtual double cutoff() const = 0;                    // Angstrom
  virtual bool has_centre(int species) const = 0;       // whether centres of this species have this term
  virtual Needs needs() const { return {}; }

  // Adds the outputs of a batch to job.values (and job.handed) and, if job.backward, dL/dr_ij to job.pairs. A batch is centres of
  // one species that the term has; other batches, in other threads, have other centres and so other pairs.
  virtual void evaluate(const Job &, const Batch &, ThreadBuffers &) const = 0;

  // Adds to `sums` what a batch contributes (Needs::sums).
  virtual void accumulate(const System &, const Batch &, ThreadBuffers &, double *sums) const;

  virtual std::int64_t n_sparse() const { return 0; }
  // Adds the rows of a batch (soapgap.hpp).
  virtual void rows(const System &, const Batch &, ThreadBuffers &, const Rows &) const;

  // Gives back memory that only training reads; `rows` then is an error.
  virtual void keep_for_evaluation_only() {}
};

}  // namespace soapgap
