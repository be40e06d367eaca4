// SOAP terms that make one descriptor of a whole structure. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "model.hpp"
#include "soapgap.hpp"
#include "base/workspace.hpp"

namespace soapgap {

// The terms (one for each species of centres) have density coefficients summed over all their centres, and of the sum one
// power spectrum, one x and one energy; every centre gets an equal part of it. The neighbours must be those of a whole
// structure. Gradients are de/dr_ij of the whole energy (null: energies only).
void add_averaged_soap(const std::vector<const SoapTerm *> &terms, const Neighbours &, ThreadBuffers &, double *energies,
                       double *gradients);

}  // namespace soapgap
