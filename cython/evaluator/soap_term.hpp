// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "model_file.hpp"

namespace soapgap {

// Fills basis, spectrum, n_features and their storage. n_of_l: radial functions of each l; the table holds their values,
// l by l, once for all channels or once per channel; centre_values: [n_channels][n_of_l[0]].
void prepare_soap_term(SoapTerm &, const std::vector<int> &n_of_l, int n_channels, const RadialTable &,
                       bool table_per_channel, const std::vector<double> &centre_values);

}  // namespace soapgap
