// Terms of three atoms. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "model.hpp"
#include "soapgap.hpp"
#include "base/workspace.hpp"

namespace soapgap {

// Points and weights as `triplet_value` wants them, from those of the file: divided by theta, normalised over permutations,
// padded. points: [n_sparse][3], weights: [n_sparse].
void prepare_triplet_term(TripletTerm &, const std::vector<double> &points, const std::vector<double> &weights);

// Adds the term's energy to the centre's, and de/dr_ij to its gradients (null: energies only). A shared term gives the
// neighbours' thirds to shares[pair], if that is not null.
void add_triplet_term(const TripletTerm &, const Neighbours &, std::int64_t centre, ThreadBuffers &, double *energy,
                      double *gradients, double *shares);

}  // namespace soapgap
