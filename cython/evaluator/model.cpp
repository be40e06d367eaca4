// Reads and checks a model file. SPDX-License-Identifier: BSD-3-Clause
#include "model.hpp"

#include "file/reader.hpp"
#include "soapgap.hpp"

namespace soapgap {
namespace {

void read_external(ModelData &model, const json &list) {
  if (!list.is_array() || list.empty()) fail(std::string("external is not a list of potentials") + damaged);
  for (const json &entry : list) {
    const std::string where = "external[" + std::to_string(model.external.size()) + "]";
    const std::string kind = entry.contains("kind") ? entry["kind"].get<std::string>() : "";
    if (kind == "lammps")
      check_keys(entry, where, {"kind", "kind_version", "pair_style", "pair_coeff", "commands", "files"});
    else if (kind == "ase")
      check_keys(entry, where, {"kind", "kind_version", "calculator", "arguments"});
    else
      fail(where + " has the unknown kind '" + kind + "': it was written by a newer soapgap; upgrade soapgap");
    if (read_count(entry, "kind_version", where, 1, 1000000) > 1)
      fail(where + ": version " + entry["kind_version"].dump() + " of kind '" + kind +
           "' is newer than this soapgap knows (1): upgrade soapgap");
    model.external.push_back({kind, entry[kind == "lammps" ? "pair_style" : "calculator"].get<std::string>()});
  }
}

void read_metadata(ModelData &model, File &file) {
  const json meta = json::parse(file.metadata, nullptr, false);
  if (meta.is_discarded() || !meta.is_object()) fail(std::string("its metadata are not valid JSON") + damaged);
  if (!meta.contains("format") || !meta["format"].is_number_integer()) fail(std::string("no format version") + damaged);
  if (meta["format"] != model_format)
    fail("format version " + meta["format"].dump() + ", this soapgap reads version " + std::to_string(model_format) +
         ": upgrade soapgap");
  if (meta.contains("external"))
    check_keys(meta, "metadata", {"format", "checksum", "units", "species", "e0", "terms", "provenance", "external"});
  else
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
    else if (kind == "triplet")
      read_triplet_term(model, file, term, where);
    else if (kind == "embedding")
      read_embedding_term(model, file, term, where);
    else
      fail(where + " has the unknown kind '" + kind + "': it was written by a newer soapgap; upgrade soapgap");
  }
  if (meta.contains("external")) read_external(model, meta["external"]);
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
bool Model::shares_energy() const { return data_->shares_energy; }
bool Model::needs_order() const { return data_->needs_order; }
bool Model::whole_structure() const { return data_->whole_structure; }
int Model::n_terms() const { return static_cast<int>(data_->terms.size()); }
const std::vector<External> &Model::external() const { return data_->external; }
const std::string &Model::metadata() const { return data_->metadata; }

int Model::species_index(const std::string &symbol) const {
  for (std::size_t i = 0; i < data_->species.size(); ++i)
    if (data_->species[i] == symbol) return static_cast<int>(i);
  return -1;
}

}  // namespace soapgap
