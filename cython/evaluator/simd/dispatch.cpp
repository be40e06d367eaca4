// Run-time choice of the hot loops. SPDX-License-Identifier: BSD-3-Clause
#include "simd/dispatch.hpp"

#include <cstdlib>
#include <string>

#include "soapgap.hpp"

namespace soapgap {

namespace baseline {
extern const Kernels table;
}
#ifdef SOAPGAP_X86_64
namespace avx2 {
extern const Kernels table;
}
namespace avx512 {
extern const Kernels table;
}
#endif

static const Kernels *choose() {
  const Kernels *found[3] = {&baseline::table, nullptr, nullptr};
#ifdef SOAPGAP_X86_64
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd");
  if (v3) found[1] = &avx2::table;
  if (v4) found[2] = &avx512::table;
#endif
  const char *wish = std::getenv("SOAPGAP_ISA");
  const Kernels *best = nullptr;
  for (const Kernels *k : found) {
    if (!k) continue;
    best = k;
    if (wish && std::string(wish) == k->name) return k;
  }
  if (wish && *wish)
    throw Error("SOAPGAP_ISA=" + std::string(wish) + " asks for an instruction set that this CPU or build does not "
                "have; expected baseline, avx2 or avx512 (best here: " + best->name + "): unset it or choose another");
  return best;
}

const Kernels &kernels() {
  static const Kernels *chosen = choose();
  return *chosen;
}

}  // namespace soapgap
