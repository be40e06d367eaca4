// The hot loops of one centre, chosen once for the CPU we run on. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "density/density_expansion.hpp"
#include "kernel/polynomial_kernel.hpp"
#include "features/power_spectrum.hpp"
#include "terms/triplet_kernel.hpp"

namespace soapgap {

struct Kernels {
  const char *name;  // "baseline", "avx2", "avx512"
  double (*dot)(const double *a, const double *b, std::ptrdiff_t n);
  void (*subtract_and_scale)(const double *v, double along, const double *x, double scale, std::ptrdiff_t n,
                             double *out);
  void (*narrow)(const double *from, std::ptrdiff_t n, float *to);
  void (*add_widened)(const float *from, std::ptrdiff_t n, double *to);
  double (*power)(double k, double zeta);
  double (*polynomial_kernel)(double *k, const double *w, double zeta, std::ptrdiff_t n);
  std::ptrdiff_t (*expansion_scratch)(const DensityBasis &, int n);
  void (*expand_density)(const DensityBasis &, const Environment &, double *scratch, double *c);
  void (*pull_back_density)(const DensityBasis &, const Environment &, const double *g, double *scratch,
                            double *gradients);
  // dc[xyz][n_c / n_channels] = d(R_nl Y_lm)/dr of neighbour j of the environment, laid out as one channel of c
  void (*neighbour_derivative)(const DensityBasis &, const Environment &, int group, int j, double *scratch,
                               double *dc);
  void (*power_spectrum)(const PowerSpectrum &, const double *c, double *scratch, double *p);
  void (*pull_back_power_spectrum)(const PowerSpectrum &, const double *c, const double *dp, double *scratch,
                                   double *g);
  void (*power_spectrum_tangent)(const PowerSpectrum &, const double *c, const double *dc, int channel, double *scratch,
                                 double *dp);
  void (*triplet_value)(const TripletKernel &, const double *r, double *out);
  void (*self_similarity)(const TripletKernel &, const double *x, double *out);
};

// The fastest set this CPU has; SOAPGAP_ISA=baseline|avx2|avx512 in the environment asks for a lesser one (for tests).
const Kernels &kernels();

}  // namespace soapgap
