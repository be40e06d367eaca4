// Reads and checks a model file. SPDX-License-Identifier: BSD-3-Clause
#include "model.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "file/reader.hpp"
#include "terms/averaged_soap.hpp"
#include "terms/read.hpp"

namespace soapgap {
namespace {

void read_external(ModelData &model, const json &list) {
  if (!list.is_array() || list.empty()) fail(std::string("external is not a list of potentials") + damaged);
  for (const json &entry : list) {
    const std::string where = "external[" + std::to_string(model.external.size()) + "]";
    const bool lammps = read_kind(entry, where, {"lammps", "ase"}) == 0;
    if (lammps)
      check_keys(entry, where, {"kind", "kind_version", "pair_style", "pair_coeff", "commands", "files"});
    else
      check_keys(entry, where, {"kind", "kind_version", "calculator", "arguments"});
    const std::string kind = entry["kind"].get<std::string>();
    if (read_count(entry, "kind_version", where, 1, 1000000) > 1)
      fail(where + ": version " + entry["kind_version"].dump() + " of kind '" + kind +
           "' is newer than this soapgap knows (1): upgrade soapgap");
    model.external.push_back({kind, entry[lammps ? "pair_style" : "calculator"].get<std::string>()});
  }
}

// A list for each species of n_out finite numbers.
std::vector<double> read_offsets(const json &list, const std::string &where, std::size_t n_species, std::size_t n_out) {
  std::vector<double> offsets;
  if (!list.is_array() || list.size() != n_species) fail(where + " has not one entry for each species" + damaged);
  for (const json &entry : list) {
    const std::vector<double> numbers = read_numbers(json{{"offsets", entry}}, "offsets", where, n_out);
    offsets.insert(offsets.end(), numbers.begin(), numbers.end());
  }
  return offsets;
}

void read_property(ModelData &model, File &file, const json &entry, const std::string &where) {
  check_keys(entry, where, {"name", "unit", "irreps", "n_out", "offsets", "terms"});
  PropertyInfo info;
  info.name = entry["name"].get<std::string>();
  info.unit = entry["unit"].get<std::string>();
  info.irreps = entry["irreps"].get<std::string>();
  info.n_out = read_count(entry, "n_out", where, 1, 1000000);
  if (info.irreps != "0e")
    fail(where + ".irreps \"" + info.irreps + "\"; this soapgap evaluates \"0e\", outputs that do not turn with the structure: "
         "upgrade soapgap");
  for (const PropertyInfo &other : model.infos)
    if (other.name == info.name) fail(where + ".name '" + info.name + "' is that of another property" + damaged);
  Property property;
  property.offsets = read_offsets(entry["offsets"], where + ".offsets", model.species.size(), static_cast<std::size_t>(info.n_out));
  int n = 0;
  for (const json &term : read_list(entry, "terms", where))
    property.terms.push_back(read_term({file, model.species, info.n_out}, term, where + ".terms[" + std::to_string(n++) + "]"));
  try {
    model.n_sums = AveragedSoapTerm::join(property.terms, model.n_sums);
  } catch (const Error &error) {
    fail(where + ": " + error.what() + damaged);
  }
  model.infos.push_back(info);
  model.properties.push_back(std::move(property));
}

// What the model needs is what its terms need.
void sum_up(ModelData &model) {
  for (const Property &property : model.properties)
    for (const auto &term : property.terms) {
      const Needs needs = term->needs();
      model.needs.sums |= needs.sums;
      model.needs.order |= needs.order;
      model.needs.handed |= needs.handed;
      model.needs.positions |= needs.positions;
      model.cutoff = std::max(model.cutoff, term->cutoff());
      model.terms.push_back(term.get());
    }
}

void check_format(const json &meta) {
  if (!meta.contains("format") || !meta["format"].is_number_integer()) fail(std::string("no format version") + damaged);
  if (meta["format"] == 1)
    fail("format version 1, which was never released: fit the model again, or convert it again from the QUIP model that it was "
         "made of (`soapgap convert`)");
  if (meta["format"] != model_format)
    fail("format version " + meta["format"].dump() + ", this soapgap reads version " + std::to_string(model_format) +
         ": upgrade soapgap");
}

void read_metadata(ModelData &model, File &file) {
  const json meta = parse_json(file.metadata.data(), file.metadata.size(), "its metadata");
  check_format(meta);
  if (meta.contains("external"))
    check_keys(meta, "metadata", {"format", "checksum", "units", "species", "properties", "provenance", "external"});
  else
    check_keys(meta, "metadata", {"format", "checksum", "units", "species", "properties", "provenance"});
  verify_checksum(file);
  if (meta["units"] != json{{"energy", "eV"}, {"length", "Angstrom"}}) fail("units other than eV and Angstrom");
  model.species = meta["species"].get<std::vector<std::string>>();
  if (model.species.empty() || model.species.size() > 256)
    fail(std::to_string(model.species.size()) + " species, expected 1 to 256" + damaged);
  if (std::set<std::string>(model.species.begin(), model.species.end()).size() != model.species.size())
    fail(std::string("its species name an element twice") + damaged);
  read_object(meta, "provenance", "metadata");
  if (!meta["properties"].is_array() || meta["properties"].empty()) fail(std::string("no properties") + damaged);
  int n = 0;
  for (const json &entry : meta["properties"]) read_property(model, file, entry, "properties[" + std::to_string(n++) + "]");
  if (model.infos[0].name != "energy") fail("its first property is '" + model.infos[0].name + "', expected energy" + damaged);
  sum_up(model);
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
    for (Property &property : data->properties)
      for (auto &term : property.terms)
        if (for_evaluation) term->keep_for_evaluation_only();
  } catch (const json::exception &e) {
    fail(std::string("its metadata are not understood (") + e.what() + ")" + damaged);
  }
  Model model;
  model.data_ = data;
  return model;
}

const std::vector<std::string> &Model::species() const { return data_->species; }
double Model::cutoff() const { return data_->cutoff; }
Needs Model::needs() const { return data_->needs; }
const std::vector<PropertyInfo> &Model::properties() const { return data_->infos; }
int Model::n_terms() const { return static_cast<int>(data_->terms.size()); }
const std::vector<External> &Model::external() const { return data_->external; }
const std::string &Model::metadata() const { return data_->metadata; }

int Model::species_index(const std::string &symbol) const {
  for (std::size_t i = 0; i < data_->species.size(); ++i)
    if (data_->species[i] == symbol) return static_cast<int>(i);
  return -1;
}

}  // namespace soapgap
