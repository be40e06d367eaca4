// What the readers of a model file share: the safetensors container and checked access to its metadata. JSON is known to model.cpp,
// file/ and terms/read_* alone. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

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
  std::uint64_t numbers_left = 0;  // see `claim_memory`
};

// The object that a text is; refused, before it is parsed, where it is nested too deeply. `what` names it in messages.
json parse_json(const char *text, std::size_t n, const std::string &what);

File read_container(const char *bytes, std::size_t n_bytes);

// SHA-256 over the metadata without its checksum entry, then name, type, shape and bytes of each tensor by name.
void verify_checksum(const File &);

// An object must have all the keys `known` and no other.
void check_keys(const json &object, const std::string &where, std::initializer_list<const char *> known);
double read_number(const json &object, const char *key, const std::string &where, double low, double high);
int read_count(const json &object, const char *key, const std::string &where, int low, int high);
std::vector<double> read_numbers(const json &object, const char *key, const std::string &where, std::size_t n);
// A name of a list as its place in it.
int read_choice(const json &object, const char *key, const std::string &where, std::initializer_list<const char *> names);
// A list of whole numbers within [low, high].
std::vector<std::int64_t> read_whole_numbers(const json &list, const std::string &where, std::int64_t low, std::int64_t high);
// The value of a key, which must be a list, or an object.
const json &read_list(const json &object, const char *key, const std::string &where);
const json &read_object(const json &object, const char *key, const std::string &where);
int read_species(const std::vector<std::string> &species, const json &symbol, const std::string &where);

// To be called before memory for so many numbers (8 bytes each) is taken: terms may share tensors, and each makes its own of them, so
// that a small file could ask for any amount. Refused is what goes beyond 64 MiB and 64 times the size of the file.
void claim_memory(File &, std::uint64_t n_numbers, const std::string &where);

// A tensor by its role; shape: expected extents, -1 for any.
std::vector<double> read_array(File &, const json &tensors, const char *role, const std::string &where,
                               const std::vector<std::int64_t> &shape);
// Tensors that only export and info read: they must exist, so that nothing is lost silently.
void claim_other_tensors(File &, const json &tensors, const std::string &where);

// Refuses a `kind` of an object that is not among the known ones, with the advice to upgrade. Returns its place in the list.
int read_kind(const json &object, const std::string &where, std::initializer_list<const char *> known);

}  // namespace soapgap
