// Reads and checks a model file. SPDX-License-Identifier: BSD-3-Clause
#include "model_file.hpp"

#include <cmath>
#include <cstring>
#include <initializer_list>
#include <map>
#include <nlohmann/json.hpp>

#include "sha256.hpp"
#include "soap_term.hpp"
#include "soapgap.hpp"

namespace soapgap {
namespace {

using nlohmann::json;

[[noreturn]] void fail(const std::string &message) { throw Error("model file: " + message); }

const char *const damaged = "; the file is damaged or not complete: copy it again or make it again";

// ---- the safetensors container --------------------------------------------------------------------------------

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

std::uint64_t little_endian(const char *p) {
  std::uint64_t v = 0;
  for (int i = 7; i >= 0; --i) v = v << 8 | static_cast<unsigned char>(p[i]);
  return v;
}

Tensor read_tensor(const std::string &name, const json &entry, const char *data, std::size_t n_data) {
  if (entry.size() != 3 || !entry.contains("dtype") || !entry.contains("shape") || !entry.contains("data_offsets"))
    fail("the header of tensor '" + name + "' is not understood" + damaged);
  Tensor t;
  t.dtype = entry.at("dtype").get<std::string>();
  t.shape = entry.at("shape").get<std::vector<std::int64_t>>();
  const auto offsets = entry.at("data_offsets").get<std::vector<std::uint64_t>>();
  if (t.dtype != "F64") fail("tensor '" + name + "' has type " + t.dtype + ", expected F64");
  std::uint64_t n = 8;
  for (std::int64_t extent : t.shape) {
    if (extent < 0 || (extent > 0 && n > (std::uint64_t(1) << 62) / std::uint64_t(extent)))
      fail("tensor '" + name + "' has an impossible shape" + damaged);
    n *= static_cast<std::uint64_t>(extent);
  }
  if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > n_data || offsets[1] - offsets[0] != n)
    fail("tensor '" + name + "' does not lie within the file" + damaged);
  t.begin = data + offsets[0];
  t.end = data + offsets[1];
  return t;
}

File read_container(const char *bytes, std::size_t n_bytes) {
  if (n_bytes == 0) fail("it is empty; expected a soapgap model (safetensors)");
  if (n_bytes < 10) fail("only " + std::to_string(n_bytes) + " bytes" + damaged);
  const std::uint64_t n_header = little_endian(bytes);
  if (n_header > n_bytes - 8 || n_header < 2 || bytes[8] != '{')
    fail("it does not begin like a safetensors file; expected a soapgap model (*.safetensors)");
  const json header = json::parse(bytes + 8, bytes + 8 + n_header, nullptr, false);
  if (header.is_discarded() || !header.is_object()) fail(std::string("its header is not valid JSON") + damaged);
  if (!header.contains("__metadata__") || !header["__metadata__"].is_object() ||
      !header["__metadata__"].contains("soapgap") || !header["__metadata__"]["soapgap"].is_string())
    fail("a safetensors file without soapgap metadata; expected a model written by soapgap");
  File file;
  file.metadata = header["__metadata__"]["soapgap"].get<std::string>();
  const char *data = bytes + 8 + n_header;
  std::size_t n_used = 0;
  for (const auto &[name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    const Tensor t = read_tensor(name, entry, data, n_bytes - 8 - n_header);
    n_used += static_cast<std::size_t>(t.end - t.begin);
    file.tensors.emplace(name, t);
  }
  if (n_used != n_bytes - 8 - n_header)
    fail("the tensors cover " + std::to_string(n_used) + " of " + std::to_string(n_bytes - 8 - n_header) + " bytes" +
         damaged);
  return file;
}

// SHA-256 over the metadata without its checksum entry, then name, type, shape and bytes of each tensor by name.
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

int read_species(const ModelData &model, const json &symbol, const std::string &where) {
  for (std::size_t i = 0; i < model.species.size(); ++i)
    if (symbol.is_string() && symbol.get<std::string>() == model.species[i]) return static_cast<int>(i);
  fail(where + " names a species that is not in the model" + damaged);
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
  std::vector<double> values(static_cast<std::size_t>(t.end - t.begin) / sizeof(double));
  if (!values.empty()) std::memcpy(values.data(), t.begin, values.size() * sizeof(double));
  for (double v : values)
    if (!std::isfinite(v)) fail(where + ": tensor '" + name + "' holds a number that is not finite");
  return values;
}

// Tensors that only export and info read: they must exist, so that nothing is lost silently.
void claim_other_tensors(File &file, const json &tensors, const std::string &where) {
  for (const auto &[role, name] : tensors.items()) {
    const auto it = file.tensors.find(name.get<std::string>());
    if (it == file.tensors.end()) fail(where + ": tensor '" + name.get<std::string>() + "' is missing" + damaged);
    it->second.used = true;
  }
}

RadialTable read_table(File &file, const json &term, const std::string &where, int n_functions, double cutoff) {
  RadialTable table;
  table.n_functions = n_functions;
  int n_rows = 0;
  for (const json &s : term.at("segments")) {
    if (!s.is_array() || s.size() != 3) fail(where + ": a segment is not [start, stop, n_intervals]" + damaged);
    Segment segment;
    segment.start = s[0].get<double>();
    segment.stop = s[1].get<double>();
    segment.n_intervals = s[2].get<int>();
    if (segment.n_intervals < 1 || segment.n_intervals > 10000000 || !(segment.stop > segment.start) ||
        (!table.segments.empty() && segment.start != table.segments.back().stop))
      fail(where + ": the table's segments do not join" + damaged);
    segment.h = (segment.stop - segment.start) / segment.n_intervals;
    segment.first_row = n_rows;
    n_rows += segment.n_intervals + 1;
    table.segments.push_back(segment);
  }
  if (table.segments.empty() || table.stop() != cutoff)
    fail(where + ": the table does not end at the cutoff" + damaged);
  table.values = read_array(file, term.at("tensors"), "radial", where, {n_rows, 3, n_functions});
  return table;
}

// The newest version of each kind that is read, and what it computes.
void check_head(const json &term, const std::string &where, int newest) {
  const std::string kind = term.at("kind").get<std::string>();
  if (read_count(term, "kind_version", where, 1, 1000000) > newest)
    fail(where + ": version " + term.at("kind_version").dump() + " of kind '" + kind +
         "' is newer than this soapgap knows (" + std::to_string(newest) + "): upgrade soapgap");
  if (term.at("n_out") != 1 || term.at("irreps") != "0e" || term.at("source") != "pair_table")
    fail(where + ": output " + term.at("irreps").dump() + " x " + term.at("n_out").dump() + " from " +
         term.at("source").dump() + "; this soapgap evaluates \"0e\" x 1 from \"pair_table\": upgrade soapgap");
}

// Two ascending lists in one: features in double, then in single precision.
std::vector<std::int32_t> read_kept(File &file, const json &tensors, const std::string &where, std::int64_t n_features,
                                    std::int64_t n_single) {
  const std::vector<double> numbers = read_array(file, tensors, "features", where, {-1});
  const std::size_t n = numbers.size(), single = n - static_cast<std::size_t>(n_single);
  if (n == 0 || static_cast<std::size_t>(n_single) > n) fail(where + " keeps no feature" + damaged);
  std::vector<std::int32_t> kept;
  for (std::size_t i = 0; i < n; ++i) {
    const double v = numbers[i];
    if (!(v >= 0 && v < static_cast<double>(n_features)) || v != std::floor(v) ||
        (i > 0 && i != single && v <= numbers[i - 1]))
      fail(where + ": the list of features is not ascending and below " + std::to_string(n_features) + damaged);
    kept.push_back(static_cast<std::int32_t>(v));
  }
  return kept;
}

void split_points(SoapTerm &term) {
  const std::int64_t d = term.n_kept, d_double = d - term.n_single;
  if (term.n_single == 0) return;
  std::vector<double> doubles;
  doubles.reserve(static_cast<std::size_t>(term.n_sparse * d_double));
  for (std::int64_t s = 0; s < term.n_sparse; ++s) {
    const double *row = term.sparse_points.data() + s * d;
    doubles.insert(doubles.end(), row, row + d_double);
    for (std::int64_t k = d_double; k < d; ++k) term.single_points.push_back(static_cast<float>(row[k]));
  }
  term.sparse_points.swap(doubles);
}

// The reduced form of a term: radial functions of each l rotated and cut, the features that are left, points or matrix.
std::unique_ptr<SoapTerm> read_reduced(const SoapTerm &exact, const RadialTable &table, File &file, const json &reduced,
                                       const std::string &where) {
  check_keys(reduced, where, {"form", "n_radial", "n_points", "n_single", "tensors", "report"});
  const json &tensors = reduced.at("tensors");
  check_keys(tensors, where + ".tensors", {"radial", "centre_values", "features", "points", "weights"});
  auto term = std::make_unique<SoapTerm>();
  const std::string form = reduced.at("form").get<std::string>();
  if (form != "points" && form != "merged_points" && form != "matrix")
    fail(where + ".form '" + form + "' is not known: it was written by a newer soapgap; upgrade soapgap");
  term->form = form == "points" ? SoapTerm::points : form == "matrix" ? SoapTerm::matrix : SoapTerm::merged_points;
  term->centre = exact.centre;
  term->channel_of_species = exact.channel_of_species;
  term->zeta = exact.zeta;
  term->delta = exact.delta;
  term->normalise = exact.normalise;
  const std::vector<int> n_of_l = reduced.at("n_radial").get<std::vector<int>>();
  if (n_of_l.size() != exact.shells.size()) fail(where + ".n_radial has not one entry for each l" + damaged);
  RadialTable own;
  own.segments = table.segments;
  for (std::size_t l = 0; l < n_of_l.size(); ++l) {
    if (n_of_l[l] < 0 || n_of_l[l] > exact.shells[l].n) fail(where + ".n_radial is out of range" + damaged);
    own.n_functions += n_of_l[l];
  }
  const int n_channels = exact.basis.n_channels;
  const std::int64_t n_rows = static_cast<std::int64_t>(table.values.size()) / (3 * std::int64_t(table.n_functions));
  own.values = read_array(file, tensors, "radial", where, {n_channels, n_rows, 3, own.n_functions});
  prepare_soap_term(*term, n_of_l, n_channels, own, true,
                    read_array(file, tensors, "centre_values", where, {n_channels, n_of_l[0]}));
  term->n_single = read_count(reduced, "n_single", where, 0, 100000000);
  term->kept = read_kept(file, tensors, where, term->n_features, term->n_single);
  term->n_kept = static_cast<std::int64_t>(term->kept.size());
  term->n_sparse = read_count(reduced, "n_points", where, 0, 100000000);
  term->sparse_points = read_array(file, tensors, "points", where, {term->n_sparse, term->n_kept});
  term->scaled_weights = read_array(file, tensors, "weights", where, {1, term->n_sparse});
  if (term->form == SoapTerm::points && term->n_sparse != exact.n_sparse)
    fail(where + " has another number of points than its term" + damaged);
  if (term->form == SoapTerm::matrix && (term->n_sparse != term->n_kept || term->zeta != 2.0 || term->n_single > 0))
    fail(where + ": its matrix does not fit the term" + damaged);
  const double delta2 = term->delta * term->delta;
  for (double &v : term->form == SoapTerm::matrix ? term->sparse_points : term->scaled_weights) v *= delta2;
  split_points(*term);
  return term;
}

void read_soap_term(ModelData &model, File &file, json term, const std::string &where) {
  check_head(term, where, 2);
  json reduced;
  if (term.at("kind_version") == 2) {
    check_keys(term.at("reduced"), where + ".reduced", {"form", "n_radial", "n_points", "n_single", "tensors", "report"});
    reduced = term.at("reduced");
    term.erase("reduced");
  }
  check_keys(term, where, {"kind", "kind_version", "n_out", "irreps", "source", "centre", "neighbours", "n_max", "l_max",
                           "n_sparse", "cutoff", "zeta", "delta", "normalise", "segments", "tensors", "basis"});
  check_keys(term.at("tensors"), where + ".tensors", {"radial", "centre_values", "sparse_points", "weights"});
  SoapTerm soap;
  soap.centre = read_species(model, term.at("centre"), where + ".centre");
  soap.channel_of_species.assign(model.species.size(), -1);
  int n_channels = 0;
  for (const json &symbol : term.at("neighbours")) {
    int &channel = soap.channel_of_species[read_species(model, symbol, where + ".neighbours")];
    if (channel >= 0) fail(where + ".neighbours names a species twice" + damaged);
    channel = n_channels++;
  }
  if (n_channels == 0) fail(where + ".neighbours is empty" + damaged);
  const int n_max = read_count(term, "n_max", where, 1, 64), l_max = read_count(term, "l_max", where, 0, 40);
  const double cutoff = read_number(term, "cutoff", where, 1e-3, 1e3);
  soap.zeta = read_number(term, "zeta", where, 1.0, 1e3);
  soap.delta = read_number(term, "delta", where, 0.0, 1e12);
  soap.normalise = term.at("normalise").get<bool>();
  const RadialTable table = read_table(file, term, where, (l_max + 1) * n_max, cutoff);
  prepare_soap_term(soap, std::vector<int>(l_max + 1, n_max), n_channels, table, false,
                    read_array(file, term.at("tensors"), "centre_values", where, {n_channels, n_max}));
  soap.n_kept = soap.n_features;
  soap.n_sparse = read_count(term, "n_sparse", where, 0, 100000000);
  soap.sparse_points = read_array(file, term.at("tensors"), "sparse_points", where, {soap.n_sparse, soap.n_features});
  soap.scaled_weights = read_array(file, term.at("tensors"), "weights", where, {1, soap.n_sparse});
  for (double &w : soap.scaled_weights) w *= soap.delta * soap.delta;
  if (!reduced.is_null()) soap.reduced = read_reduced(soap, table, file, reduced, where + ".reduced");
  model.cutoff = std::max(model.cutoff, cutoff);
  model.terms.push_back({TermPlace::soap, static_cast<int>(model.soap_terms.size())});
  model.soap_terms.push_back(std::move(soap));
}

void read_pair_term(ModelData &model, File &file, const json &term, const std::string &where) {
  check_keys(term, where, {"kind", "kind_version", "n_out", "irreps", "source", "species", "cutoff", "segments", "tensors",
                           "origin"});
  check_head(term, where, 1);
  if (!term.at("species").is_array() || term.at("species").size() != 2)
    fail(where + ".species is not a pair" + damaged);
  PairTerm pair;
  pair.first = read_species(model, term.at("species")[0], where + ".species");
  pair.second = read_species(model, term.at("species")[1], where + ".species");
  pair.cutoff = read_number(term, "cutoff", where, 1e-3, 1e3);
  pair.table = read_table(file, term, where, 1, pair.cutoff);
  claim_other_tensors(file, term.at("tensors"), where);
  model.cutoff = std::max(model.cutoff, pair.cutoff);
  model.terms.push_back({TermPlace::pair, static_cast<int>(model.pair_terms.size())});
  model.pair_terms.push_back(std::move(pair));
}

void read_metadata(ModelData &model, File &file) {
  const json meta = json::parse(file.metadata, nullptr, false);
  if (meta.is_discarded() || !meta.is_object()) fail(std::string("its metadata are not valid JSON") + damaged);
  if (!meta.contains("format") || !meta["format"].is_number_integer()) fail(std::string("no format version") + damaged);
  if (meta["format"] != model_format)
    fail("format version " + meta["format"].dump() + ", this soapgap reads version " + std::to_string(model_format) +
         ": upgrade soapgap");
  check_keys(meta, "metadata", {"format", "checksum", "units", "species", "e0", "terms", "provenance"});
  verify_checksum(file);
  if (meta["units"] != json{{"energy", "eV"}, {"length", "Angstrom"}}) fail("units other than eV and Angstrom");
  model.species = meta["species"].get<std::vector<std::string>>();
  model.e0 = meta["e0"].get<std::vector<double>>();
  if (model.species.empty() || model.e0.size() != model.species.size())
    fail(std::string("species and e0 do not fit each other") + damaged);
  int n = 0;
  for (const json &term : meta["terms"]) {
    const std::string where = "terms[" + std::to_string(n++) + "]";
    const std::string kind = term.contains("kind") ? term["kind"].get<std::string>() : "";
    if (kind == "soap")
      read_soap_term(model, file, term, where);
    else if (kind == "pair")
      read_pair_term(model, file, term, where);
    else
      fail(where + " has the unknown kind '" + kind + "': it was written by a newer soapgap; upgrade soapgap");
  }
  for (const auto &[name, tensor] : file.tensors)
    if (!tensor.used) fail("tensor '" + name + "' belongs to no term" + damaged);
}

}  // namespace

Model Model::from_bytes(const char *bytes, std::size_t n_bytes, bool for_evaluation) {
  auto data = std::make_shared<ModelData>();
  try {
    File file = read_container(bytes, n_bytes);
    data->metadata = file.metadata;
    read_metadata(*data, file);
    if (for_evaluation)
      for (SoapTerm &term : data->soap_terms)
        if (term.reduced) std::vector<double>().swap(term.sparse_points);
  } catch (const json::exception &e) {
    fail(std::string("its metadata are not understood (") + e.what() + ")" + damaged);
  }
  Model model;
  model.data_ = data;
  return model;
}

const std::vector<std::string> &Model::species() const { return data_->species; }
double Model::cutoff() const { return data_->cutoff; }
int Model::n_terms() const { return static_cast<int>(data_->terms.size()); }
const std::string &Model::metadata() const { return data_->metadata; }

int Model::species_index(const std::string &symbol) const {
  for (std::size_t i = 0; i < data_->species.size(); ++i)
    if (data_->species[i] == symbol) return static_cast<int>(i);
  return -1;
}

}  // namespace soapgap
