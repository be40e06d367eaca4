// The safetensors container and checked access to a model's metadata. SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <cmath>
#include <cstring>

#include "file/reader.hpp"
#include "file/sha256.hpp"
#include "soapgap.hpp"

namespace soapgap {

void fail(const std::string &message) { throw Error("model file: " + message); }

const char *const damaged = "; the file is damaged or not complete: copy it again or make it again";

// ---- the container --------------------------------------------------------------------------------------------

static constexpr std::uint64_t longest_header = 100000000;

static std::uint64_t little_endian(const char *p) {
  std::uint64_t v = 0;
  for (int i = 7; i >= 0; --i) v = v << 8 | static_cast<unsigned char>(p[i]);
  return v;
}

static Tensor read_tensor(const std::string &name, const json &entry, const char *data, std::size_t n_data) {
  if (entry.size() != 3 || !entry.contains("dtype") || !entry.contains("shape") || !entry.contains("data_offsets"))
    fail("the header of tensor '" + name + "' is not understood" + damaged);
  Tensor t;
  t.dtype = entry.at("dtype").get<std::string>();
  const std::string where = "tensor '" + name + "'";
  t.shape = read_whole_numbers(entry.at("shape"), where + ".shape", 0, std::int64_t(1) << 59);
  const std::vector<std::int64_t> offsets =
      read_whole_numbers(entry.at("data_offsets"), where + ".data_offsets", 0, static_cast<std::int64_t>(n_data));
  if (t.dtype != "F64") fail("tensor '" + name + "' has type " + t.dtype + ", expected F64");
  std::uint64_t n = 8;
  for (std::int64_t extent : t.shape) {
    if (extent > 0 && n > (std::uint64_t(1) << 62) / std::uint64_t(extent))
      fail("tensor '" + name + "' has an impossible shape" + damaged);
    n *= static_cast<std::uint64_t>(extent);
  }
  if (offsets.size() != 2 || offsets[0] > offsets[1] || static_cast<std::uint64_t>(offsets[1] - offsets[0]) != n)
    fail("tensor '" + name + "' does not lie within the file" + damaged);
  t.begin = data + offsets[0];
  t.end = data + offsets[1];
  return t;
}

// Every byte of the data belongs to one tensor.
static void check_places(const File &file, const char *data, std::size_t n_data) {
  std::vector<std::pair<std::pair<const char *, const char *>, std::string>> places;
  std::size_t n_used = 0;
  for (const auto &[name, tensor] : file.tensors) {
    places.push_back({{tensor.begin, tensor.end}, name});
    n_used += static_cast<std::size_t>(tensor.end - tensor.begin);
  }
  if (n_used != n_data)
    fail("the tensors cover " + std::to_string(n_used) + " of " + std::to_string(n_data) + " bytes" + damaged);
  std::sort(places.begin(), places.end());
  const char *end = data;
  for (const auto &[place, name] : places) {
    if (place.first != end)
      fail("tensor '" + name + "' begins at byte " + std::to_string(place.first - data) + " of the data, expected " +
           std::to_string(end - data) + ", where the one before it ends: tensors overlap or leave a gap" + damaged);
    end = place.second;
  }
}

File read_container(const char *bytes, std::size_t n_bytes) {
  if (n_bytes == 0) fail("it is empty; expected a soapgap model (safetensors)");
  if (n_bytes < 10) fail("only " + std::to_string(n_bytes) + " bytes" + damaged);
  const std::uint64_t n_header = little_endian(bytes);
  if (n_header > n_bytes - 8 || n_header < 2 || bytes[8] != '{')
    fail("it does not begin like a safetensors file; expected a soapgap model (*.safetensors)");
  if (n_header > longest_header)
    fail("a header of " + std::to_string(n_header) + " bytes, expected at most " + std::to_string(longest_header) +
         ", the limit of safetensors" + damaged);
  const json header = parse_json(bytes + 8, static_cast<std::size_t>(n_header), "its header");
  if (!header.contains("__metadata__") || !header["__metadata__"].is_object() ||
      !header["__metadata__"].contains("soapgap") || !header["__metadata__"]["soapgap"].is_string())
    fail("a safetensors file without soapgap metadata; expected a model written by soapgap");
  File file;
  file.metadata = header["__metadata__"]["soapgap"].get<std::string>();
  const char *data = bytes + 8 + n_header;
  file.numbers_left = (std::uint64_t(64) << 20) / sizeof(double) + 64 * (n_bytes / sizeof(double));
  for (const auto &[name, entry] : header.items())
    if (name != "__metadata__") file.tensors.emplace(name, read_tensor(name, entry, data, n_bytes - 8 - n_header));
  check_places(file, data, n_bytes - 8 - n_header);
  return file;
}

void verify_checksum(const File &file) {
  const std::string key = "\"checksum\":\"";
  const std::size_t at = file.metadata.find(key);
  const std::size_t n_entry = key.size() + 64 + 2;  // digits, closing quote, comma
  if (at == std::string::npos || at + n_entry > file.metadata.size()) fail(std::string("no checksum") + damaged);
  Sha256 hash;
  hash.update(file.metadata.data(), at);
  hash.update(file.metadata.data() + at + n_entry, file.metadata.size() - at - n_entry);
  for (const auto &[name, tensor] : file.tensors) {
    std::string head = "\n" + name + "\n" + tensor.dtype + "\n";
    for (std::int64_t extent : tensor.shape) head += std::to_string(extent) + ",";
    head += "\n";
    hash.update(head.data(), head.size());
    hash.update(tensor.begin, static_cast<std::size_t>(tensor.end - tensor.begin));
  }
  const std::string got = hash.hex_digest(), expected = file.metadata.substr(at + key.size(), 64);
  if (got != expected)
    fail("checksum " + got.substr(0, 12) + "... of the content, expected " + expected.substr(0, 12) +
         "...: the file was altered or damaged; copy it again or make it again");
}

// ---- metadata ---------------------------------------------------------------------------------------------------

void check_keys(const json &object, const std::string &where, std::initializer_list<const char *> known) {
  if (!object.is_object()) fail(where + " is not an object" + damaged);
  for (const auto &[key, value] : object.items()) {
    bool found = false;
    for (const char *name : known) found = found || key == name;
    if (!found) fail(where + " has an unknown key '" + key + "': it was written by a newer soapgap; upgrade soapgap");
  }
  for (const char *name : known)
    if (!object.contains(name)) fail(where + " lacks the key '" + name + "'" + damaged);
}

double read_number(const json &object, const char *key, const std::string &where, double low, double high) {
  if (!object.at(key).is_number()) fail(where + "." + key + " is not a number" + damaged);
  const double v = object.at(key).get<double>();
  if (!(v >= low && v <= high)) fail(where + "." + key + " = " + std::to_string(v) + " is out of range" + damaged);
  return v;
}

int read_count(const json &object, const char *key, const std::string &where, int low, int high) {
  if (!object.at(key).is_number_integer()) fail(where + "." + key + " is not a whole number" + damaged);
  return static_cast<int>(read_number(object, key, where, low, high));
}

std::vector<double> read_numbers(const json &object, const char *key, const std::string &where, std::size_t n) {
  const json &list = object.at(key);
  if (!list.is_array() || list.size() != n)
    fail(where + "." + key + " is not a list of " + std::to_string(n) + " numbers" + damaged);
  std::vector<double> numbers;
  for (const json &v : list) {
    if (!v.is_number() || !std::isfinite(v.get<double>())) fail(where + "." + key + " holds something else than numbers" + damaged);
    numbers.push_back(v.get<double>());
  }
  return numbers;
}

int read_choice(const json &object, const char *key, const std::string &where, std::initializer_list<const char *> names) {
  int n = 0;
  for (const char *name : names) {
    if (object.at(key) == name) return n;
    ++n;
  }
  fail(where + "." + key + " " + object.at(key).dump() + " is not known: it was written by a newer soapgap; upgrade soapgap");
}

std::vector<std::int64_t> read_whole_numbers(const json &list, const std::string &where, std::int64_t low, std::int64_t high) {
  if (!list.is_array()) fail(where + " is not a list of whole numbers" + damaged);
  std::vector<std::int64_t> numbers;
  for (const json &v : list) {
    // a number beyond the range of int64 would wrap
    if (!v.is_number_integer() || (v.is_number_unsigned() && v.get<std::uint64_t>() > std::uint64_t(1) << 62) ||
        v.get<std::int64_t>() < low || v.get<std::int64_t>() > high)
      fail(where + " holds " + v.dump().substr(0, 40) + ", expected whole numbers from " + std::to_string(low) + " to " +
           std::to_string(high) + damaged);
    numbers.push_back(v.get<std::int64_t>());
  }
  return numbers;
}

const json &read_list(const json &object, const char *key, const std::string &where) {
  if (!object.at(key).is_array()) fail(where + "." + key + " is not a list" + damaged);
  return object.at(key);
}

const json &read_object(const json &object, const char *key, const std::string &where) {
  if (!object.at(key).is_object()) fail(where + "." + key + " is not an object" + damaged);
  return object.at(key);
}

int read_species(const std::vector<std::string> &species, const json &symbol, const std::string &where) {
  for (std::size_t i = 0; i < species.size(); ++i)
    if (symbol.is_string() && symbol.get<std::string>() == species[i]) return static_cast<int>(i);
  fail(where + " names a species that is not in the model" + damaged);
}

void claim_memory(File &file, std::uint64_t n_numbers, const std::string &where) {
  if (n_numbers > file.numbers_left)
    fail(where + " asks for more memory than a file of this size has use for (64 MiB and 64 times its bytes): it was damaged, or made to "
         "do harm; do not use it, make it again");
  file.numbers_left -= n_numbers;
}

std::vector<double> read_array(File &file, const json &tensors, const char *role, const std::string &where,
                               const std::vector<std::int64_t> &shape) {
  const std::string name = tensors.at(role).get<std::string>();
  const auto it = file.tensors.find(name);
  if (it == file.tensors.end()) fail(where + ": tensor '" + name + "' is missing" + damaged);
  Tensor &t = it->second;
  bool same = t.shape.size() == shape.size();
  for (std::size_t i = 0; same && i < shape.size(); ++i) same = shape[i] < 0 || shape[i] == t.shape[i];
  if (!same) fail(where + ": tensor '" + name + "' has a shape that does not fit its term" + damaged);
  t.used = true;
  claim_memory(file, static_cast<std::uint64_t>(t.end - t.begin) / sizeof(double), where);
  std::vector<double> values(static_cast<std::size_t>(t.end - t.begin) / sizeof(double));
  if (!values.empty()) std::memcpy(values.data(), t.begin, values.size() * sizeof(double));
  for (double v : values)
    if (!std::isfinite(v)) fail(where + ": tensor '" + name + "' holds a number that is not finite");
  return values;
}

void claim_other_tensors(File &file, const json &tensors, const std::string &where) {
  for (const auto &[role, name] : tensors.items()) {
    const auto it = file.tensors.find(name.get<std::string>());
    if (it == file.tensors.end()) fail(where + ": tensor '" + name.get<std::string>() + "' is missing" + damaged);
    it->second.used = true;
    if (it->second.shape.empty()) fail(where + ": tensor '" + it->first + "' is a single number, expected a list" + damaged);
  }
}

int read_kind(const json &object, const std::string &where, std::initializer_list<const char *> known) {
  const std::string kind = object.is_object() && object.contains("kind") ? object["kind"].get<std::string>() : "";
  int n = 0;
  for (const char *name : known) {
    if (kind == name) return n;
    ++n;
  }
  fail(where + " has the unknown kind '" + kind + "': it was written by a newer soapgap; upgrade soapgap");
}

}  // namespace soapgap
