// Run-time choice of the hot loops. SPDX-License-Identifier: BSD-3-Clause
#include "simd/loops.hpp"

#include <cstdlib>
#include <string>

#include "soapgap.hpp"

namespace soapgap {

namespace baseline {
extern const Loops loops;
}
#ifdef SOAPGAP_X86_64
namespace avx2 {
extern const Loops loops;
}
namespace avx512 {
extern const Loops loops;
}
#endif

static const Loops *choose() {
  const Loops *found[3] = {&baseline::loops, nullptr, nullptr};
#ifdef SOAPGAP_X86_64
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd");
  if (v3) found[1] = &avx2::loops;
  if (v4) found[2] = &avx512::loops;
#endif
  const char *wish = std::getenv("SOAPGAP_ISA");
  const Loops *best = nullptr;
  for (const Loops *set : found) {
    if (!set) continue;
    best = set;
    if (wish && std::string(wish) == set->rows.name) return set;
  }
  if (wish && *wish)
    throw Error("SOAPGAP_ISA=" + std::string(wish) + " asks for an instruction set that this CPU or build does not "
                "have; expected baseline, avx2 or avx512 (best here: " + best->rows.name + "): unset it or choose another");
  return best;
}

static const Loops &chosen_loops() {
  static const Loops *chosen = choose();
  return *chosen;
}

const RowLoops &row_loops() { return chosen_loops().rows; }
const DensityLoops &density_loops() { return chosen_loops().density; }
const FeatureLoops &feature_loops() { return chosen_loops().features; }
const KernelLoops &kernel_loops() { return chosen_loops().kernel; }
const FewBodyLoops &few_body_loops() { return chosen_loops().few_body; }

}  // namespace soapgap
