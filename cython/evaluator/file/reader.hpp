// What the readers of a model file share: the safetensors container and checked access to its metadata. JSON is known to the
// model_*.cpp files alone. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <initializer_list>
#include <map>
#include <nlohmann/json.hpp>

#include "model.hpp"

namespace soapgap {

using nlohmann::json;

[[noreturn]] void fail(const std::string &message);  // throws Error
extern const char *const damaged;                    // what to do about a file that is not whole

struct Tensor {
  std::string dtype;
  std::vector<std::int64_t> shape;
  const char *begin, *end;
  bool used = false;
};

struct File {
  std::string metadata;
  std::map<std::string, Tensor> tensors;
};

File read_container(const char *bytes, std::size_t n_bytes);

// SHA-256 over the metadata without its checksum entry, then name, type, shape and bytes of each tensor by name.
void verify_checksum(const File &);

// An object must have all the keys `known` and no other.
void check_keys(const json &object, const std::string &where, std::initializer_list<const char *> known);
double read_number(const json &object, const char *key, const std::string &where, double low, double high);
int read_count(const json &object, const char *key, const std::string &where, int low, int high);
std::vector<double> read_numbers(const json &object, const char *key, const std::string &where, std::size_t n);
int read_species(const ModelData &, const json &symbol, const std::string &where);

// A tensor by its role; shape: expected extents, -1 for any.
std::vector<double> read_array(File &, const json &tensors, const char *role, const std::string &where,
                               const std::vector<std::int64_t> &shape);
// Tensors that only export and info read: they must exist, so that nothing is lost silently.
void claim_other_tensors(File &, const json &tensors, const std::string &where);

// The table of a term whose `segments` end at `end`; its tensor has the shape leading + [n_rows][3][n_functions].
RadialTable read_table(File &, const json &term, const std::string &where, int n_functions, double end,
                       const std::vector<std::int64_t> &leading = {});
std::int64_t n_rows(const RadialTable &);

// Refuses versions and outputs of a term that this soapgap does not know. Returns its version.
int check_head(const json &term, const std::string &where, int newest);

// The readers of the kinds of terms: each adds to the model.
void read_soap_term(ModelData &, File &, const json &term, const std::string &where);
void read_pair_term(ModelData &, File &, const json &term, const std::string &where);
void read_triplet_term(ModelData &, File &, const json &term, const std::string &where);
void read_embedding_term(ModelData &, File &, const json &term, const std::string &where);

}  // namespace soapgap
