// Denormals are zeros while a FlushDenormals lives, and are themselves again afterwards.
#include "check.h"
#include "denormals.h"

#include <limits>

int main() {
  volatile float tiny = std::numeric_limits<float>::min(), half = 0.5f;
  volatile float denormal = tiny * half;
  CHECK(denormal != 0.0f);
#if defined(__x86_64__) || defined(__aarch64__)
  {
    sod2::FlushDenormals flush;
    volatile float product = tiny * half;
    CHECK(product == 0.0f);
    {
      sod2::FlushDenormals again;
    }
    product = denormal * 4.0f;
    CHECK(product == 0.0f);
  }
#endif
  volatile float product = tiny * half;
  CHECK(product == denormal && product != 0.0f);
  return 0;
}
