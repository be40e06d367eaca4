// SHA-256 (FIPS 180-4), for the model file's checksum. SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace soapgap {

class Sha256 {
 public:
  void update(const void *data, std::size_t n);
  std::string hex_digest();  // 64 lower-case digits; ends the computation

 private:
  void block(const unsigned char *p);
  std::uint32_t state_[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                             0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  unsigned char pending_[64];
  std::size_t n_pending_ = 0;
  std::uint64_t n_total_ = 0;
};

}  // namespace soapgap
