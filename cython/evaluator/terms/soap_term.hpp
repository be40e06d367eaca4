// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "model.hpp"

namespace soapgap {

// What a term's tables and channels are like, as the file says it.
struct SoapShape {
  std::vector<int> n_of_l;         // radial functions of each l
  int n_channels;
  std::vector<int> block_of;       // the channel that each group of neighbours adds to
  bool table_per_group;            // or one table for all
  std::vector<double> l_factors;   // of each l
  std::vector<ChannelPair> pairs;  // empty: all J <= I
};

// Fills basis, spectrum, n_features and their storage. The table holds its values l by l, once or group by group;
// centre_values: [n_channels][n_of_l[0]]. Pairs count functions as channel * n + n' (all l have the same n then).
void prepare_soap_term(SoapTerm &, const SoapShape &, const RadialTable &, const std::vector<double> &centre_values);

}  // namespace soapgap
