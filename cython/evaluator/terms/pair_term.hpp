// Terms made of functions of one distance: e_i = sum_j V(r_ij), or e_i = U(sum_j n(r_ij)). SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "model.hpp"
#include "soapgap.hpp"

namespace soapgap {

// Adds V to the centre's energy and dV/dr_ij to its gradients (null: energies only).
void add_pair_term(const PairTerm &, const Neighbours &, std::int64_t centre, double *energy, double *gradients);

// Likewise e_i = U(rho_i).
void add_embedding_term(const EmbeddingTerm &, const Neighbours &, std::int64_t centre, double *energy, double *gradients);

}  // namespace soapgap
