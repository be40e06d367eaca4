// SPDX-License-Identifier: BSD-3-Clause
#include "terms/term.hpp"

namespace soapgap {

void Term::accumulate(const System &, const Batch &, ThreadBuffers &, double *) const {}

void Term::rows(const System &, const Batch &, ThreadBuffers &, const Rows &) const {
  throw Error("rows of a design matrix are asked of a term that has no kernel with sparse points: they exist for the soap, "
              "distance_2b and triplet terms of a fit");
}

}  // namespace soapgap
