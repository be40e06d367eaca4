// SOAP terms that make one descriptor of a whole structure. SPDX-License-Identifier: BSD-3-Clause
//
// c is summed over all centres of a few terms (one for each species of centres; they differ in nothing else), and of the sum one
// p, one x and one output are made: v_i = v(x) / (number of these centres) for each of them.
#pragma once

#include <memory>
#include <vector>

#include "terms/soap_term.hpp"

namespace soapgap {

class AveragedSoapTerm : public SoapTerm {
 public:
  // Terms of the same `number` belong together.
  AveragedSoapTerm(int centre, SoapForm form, int number);
  Needs needs() const override;
  void evaluate(const Job &, const Batch &, ThreadBuffers &) const override;
  void accumulate(const System &, const Batch &, ThreadBuffers &, double *sums) const override;
  void rows(const System &, const Batch &, ThreadBuffers &, const Rows &) const override;
  void keep_for_evaluation_only() override {}

  // Gives the terms among these that belong together a common place in the sums, from `start` on, and makes them known to one
  // another. Returns where the sums end. Throws Error where terms of one number do not fit each other.
  static std::int64_t join(const std::vector<std::unique_ptr<Term>> &, std::int64_t start);

 private:
  // dL/d(output) of the structure, [n_out].
  void total_pull(const Job &, double n_centres, double *pull) const;
  int number_;
  std::int64_t place_ = 0;     // in the sums: c[n_c], then the number of centres
  std::vector<int> centres_;   // species of the centres of all terms that belong together
};

}  // namespace soapgap
