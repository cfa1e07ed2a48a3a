#include "denormals.h"

#if defined(__x86_64__) || defined(_M_X64) || defined(__i386__)
#include <immintrin.h>
#endif

namespace sod2 {

#if defined(__x86_64__) || defined(_M_X64) || defined(__i386__)

constexpr unsigned kFlush = 1u << 15 | 1u << 6; // FTZ and DAZ of MXCSR

FlushDenormals::FlushDenormals() : saved_(_mm_getcsr()) {
  _mm_setcsr(static_cast<unsigned>(saved_) | kFlush);
}
FlushDenormals::~FlushDenormals() { _mm_setcsr(static_cast<unsigned>(saved_)); }

#elif defined(__aarch64__)

constexpr unsigned long long kFlush = 1ull << 24; // FZ of FPCR

FlushDenormals::FlushDenormals() {
  __asm__ __volatile__("mrs %0, fpcr" : "=r"(saved_));
  __asm__ __volatile__("msr fpcr, %0" : : "r"(saved_ | kFlush));
}
FlushDenormals::~FlushDenormals() { __asm__ __volatile__("msr fpcr, %0" : : "r"(saved_)); }

#else

FlushDenormals::FlushDenormals() = default;
FlushDenormals::~FlushDenormals() = default;

#endif

} // namespace sod2
