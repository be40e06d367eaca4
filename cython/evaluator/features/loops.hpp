// The loops of features over one centre's coefficients, chosen once for the CPU. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "features/power_spectrum.hpp"

namespace soapgap {

// Each is described where it is defined, in power_spectrum.hpp.
struct FeatureLoops {
  void (*power_spectrum)(const PowerSpectrum &, const double *c, double *scratch, double *p);
  void (*pull_back_power_spectrum)(const PowerSpectrum &, const double *c, const double *dp, double *scratch, double *g);
  void (*power_spectrum_tangent)(const PowerSpectrum &, const double *c, const double *dc, int channel, double *scratch,
                                 double *dp);
};

const FeatureLoops &feature_loops();

}  // namespace soapgap
