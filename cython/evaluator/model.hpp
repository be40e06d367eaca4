// What a model file holds, ready for evaluation. SPDX-License-Identifier: BSD-3-Clause
//
// The file is safetensors; all metadata is one canonical JSON string under the key `soapgap` (docs/model_file.md).
// model.cpp is its only reader: Python and LAMMPS both come through it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "soapgap.hpp"
#include "terms/term.hpp"

namespace soapgap {

constexpr int model_format = 2;

// v_i = offsets(species of i) + the sum of the terms.
struct Property {
  std::vector<double> offsets;  // [n_species][n_out]
  std::vector<std::unique_ptr<Term>> terms;
};

struct ModelData {
  std::string metadata;
  std::vector<std::string> species;
  double cutoff = 0.0;
  Needs needs;
  std::int64_t n_sums = 0;
  std::vector<PropertyInfo> infos;  // of `properties`
  std::vector<Property> properties;
  std::vector<const Term *> terms;  // of all properties, in the order of the file
  std::vector<External> external;
};

}  // namespace soapgap
