// The forward and backward halves of a SOAP term for one batch of centres. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "model.hpp"
#include "soapgap.hpp"
#include "base/workspace.hpp"

namespace soapgap {

// Centres of one species are worked on together, so that the kernel is two matrix products: as many as make those
// products run at full speed, fewer where threads would otherwise have nothing to do.
int batch_size(std::int64_t n_centres, int n_threads);

// Centres of the term's species, in the order of the list.
std::vector<std::int64_t> centres_of(const Neighbours &, int species);

// Neighbours -> c -> x for n centres: leaves environments, coefficients, x, its kept features and norms (|p|) in the
// buffers.
void forward(const SoapTerm &, const Neighbours &, const std::int64_t *centres, int n, ThreadBuffers &);

// de/dx (of the buffers) -> de/dp -> de/dc -> adds de/dr_ij to gradients.
void backward(const SoapTerm &, int n, ThreadBuffers &, double *gradients);

// What `forward` left for the kernel: x[n][n_kept].
const double *kernel_input(const SoapTerm &, const ThreadBuffers &);

// kept[n_kept] = the kept features of all[n_features].
void keep(const SoapTerm &, const double *all, double *kept);

// (v - x (x . v)) / |p|, which turns a derivative with respect to x into one with respect to p, and dp into dx alike.
void project_out(const SoapTerm &, const double *x, double norm, const double *v, double *out);

}  // namespace soapgap
