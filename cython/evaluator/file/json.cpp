// Parsing of JSON that may come from anywhere. SPDX-License-Identifier: BSD-3-Clause
#include "file/reader.hpp"

namespace soapgap {

// Values within values, counted before anything is made of them: readers call themselves for each level, and the stack ends. Models
// have about ten.
static constexpr int deepest = 64;

static void check_depth(const char *text, std::size_t n, const std::string &what) {
  int depth = 0;
  bool quoted = false;
  for (std::size_t at = 0; at < n; ++at) {
    const char c = text[at];
    if (quoted) {
      if (c == '\\')
        ++at;
      else if (c == '"')
        quoted = false;
      continue;
    }
    if (c == '"') quoted = true;
    if (c == ']' || c == '}') --depth;
    if ((c == '[' || c == '{') && ++depth > deepest)
      fail(what + " has lists or objects more than " + std::to_string(deepest) + " deep, expected about ten" + damaged);
  }
}

json parse_json(const char *text, std::size_t n, const std::string &what) {
  check_depth(text, n, what);
  json value = json::parse(text, text + n, nullptr, false);
  if (value.is_discarded() || !value.is_object()) fail(what + " is not valid JSON" + damaged);
  return value;
}

}  // namespace soapgap
