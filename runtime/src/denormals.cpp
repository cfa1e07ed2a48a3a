#include "denormals.h"

#if defined(__x86_64__) || defined(_M_X64) || defined(__i386__)
#include <immintrin.h>
#endif

namespace sod2 {

#if defined(__x86_64__) || defined(_M_X64) || defined(__i386__)

constexpr unsigned kFlush = 1u << 15 | 1u << 6; // FTZ and DAZ of MXCSR

FlushDenormals::FlushDenormals() : saved_(_mm_getcsr()) { resume(); }
void FlushDenormals::pause() { _mm_setcsr(static_cast<unsigned>(saved_)); }
void FlushDenormals::resume() { _mm_setcsr(static_cast<unsigned>(saved_) | kFlush); }

#elif defined(__aarch64__)

constexpr unsigned long long kFlush = 1ull << 24; // FZ of FPCR

FlushDenormals::FlushDenormals() {
  __asm__ __volatile__("mrs %0, fpcr" : "=r"(saved_));
  resume();
}
void FlushDenormals::pause() { __asm__ __volatile__("msr fpcr, %0" : : "r"(saved_)); }
void FlushDenormals::resume() { __asm__ __volatile__("msr fpcr, %0" : : "r"(saved_ | kFlush)); }

#else

FlushDenormals::FlushDenormals() = default;
void FlushDenormals::pause() {}
void FlushDenormals::resume() {}

#endif

FlushDenormals::~FlushDenormals() { pause(); }

} // namespace sod2
