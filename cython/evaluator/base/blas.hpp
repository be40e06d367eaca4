// The only way to BLAS. SPDX-License-Identifier: BSD-3-Clause
//
// Symbol prefix and integer width are build options (SOAPGAP_BLAS_PREFIX, SOAPGAP_BLAS_ILP64), so that the
// scipy-openblas wheel (prefix `scipy_`) and a cluster's own BLAS (no prefix) are used alike.
#pragma once

#include <cstddef>
#include <cstdint>

#ifndef SOAPGAP_BLAS_PREFIX
#define SOAPGAP_BLAS_PREFIX
#endif
#define SOAPGAP_JOIN2(a, b) a##b
#define SOAPGAP_JOIN(a, b) SOAPGAP_JOIN2(a, b)
#define SOAPGAP_BLAS(name) SOAPGAP_JOIN(SOAPGAP_BLAS_PREFIX, name)

namespace soapgap {
#ifdef SOAPGAP_BLAS_ILP64
using blas_int = std::int64_t;
#else
using blas_int = std::int32_t;
#endif
}  // namespace soapgap

extern "C" {
void SOAPGAP_BLAS(cblas_dgemm)(int order, int trans_a, int trans_b, soapgap::blas_int m, soapgap::blas_int n,
                               soapgap::blas_int k, double alpha, const double *a, soapgap::blas_int lda,
                               const double *b, soapgap::blas_int ldb, double beta, double *c,
                               soapgap::blas_int ldc);
void SOAPGAP_BLAS(cblas_sgemm)(int order, int trans_a, int trans_b, soapgap::blas_int m, soapgap::blas_int n,
                               soapgap::blas_int k, float alpha, const float *a, soapgap::blas_int lda,
                               const float *b, soapgap::blas_int ldb, float beta, float *c, soapgap::blas_int ldc);
#ifdef SOAPGAP_OPENBLAS
void SOAPGAP_BLAS(openblas_set_num_threads)(int n_threads);
int SOAPGAP_BLAS(openblas_get_num_threads)(void);
#endif
}

namespace soapgap {

// Threads are ours: a BLAS that would start its own is told not to. Asked before every evaluation, because others in the
// process may set the number again (threadpoolctl does, when a limit ends).
inline void make_blas_serial() {
#ifdef SOAPGAP_OPENBLAS
  if (SOAPGAP_BLAS(openblas_get_num_threads)() != 1) SOAPGAP_BLAS(openblas_set_num_threads)(1);
#endif
}

constexpr int blas_row_major = 101, blas_no_trans = 111, blas_trans = 112;

// c[m][n] = a[m][k] b[k][n] + beta c, all row-major; transpose_b: b is stored [n][k].
inline void gemm(bool transpose_b, std::ptrdiff_t m, std::ptrdiff_t n, std::ptrdiff_t k, const double *a,
                 std::ptrdiff_t lda, const double *b, std::ptrdiff_t ldb, double beta, double *c,
                 std::ptrdiff_t ldc) {
  if (m == 0 || n == 0) return;
  SOAPGAP_BLAS(cblas_dgemm)
  (blas_row_major, blas_no_trans, transpose_b ? blas_trans : blas_no_trans, static_cast<blas_int>(m),
   static_cast<blas_int>(n), static_cast<blas_int>(k), 1.0, a, static_cast<blas_int>(lda), b,
   static_cast<blas_int>(ldb), beta, c, static_cast<blas_int>(ldc));
}

// The same in single precision.
inline void gemm(bool transpose_b, std::ptrdiff_t m, std::ptrdiff_t n, std::ptrdiff_t k, const float *a,
                 std::ptrdiff_t lda, const float *b, std::ptrdiff_t ldb, float beta, float *c, std::ptrdiff_t ldc) {
  if (m == 0 || n == 0) return;
  SOAPGAP_BLAS(cblas_sgemm)
  (blas_row_major, blas_no_trans, transpose_b ? blas_trans : blas_no_trans, static_cast<blas_int>(m),
   static_cast<blas_int>(n), static_cast<blas_int>(k), 1.0f, a, static_cast<blas_int>(lda), b,
   static_cast<blas_int>(ldb), beta, c, static_cast<blas_int>(ldc));
}

}  // namespace soapgap
