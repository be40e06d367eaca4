// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "model_file.hpp"

namespace soapgap {

// Fills basis, spectrum, n_features and their storage. centre_values: [n_channels][n_max].
void prepare_soap_term(SoapTerm &, int n_max, int l_max, int n_channels, double cutoff, const RadialTable &,
                       const std::vector<double> &centre_values);

}  // namespace soapgap
