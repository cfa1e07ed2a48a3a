// Kernels of the library are found by name and do what they say.
#include "check.h"
#include "sod2rt_more.h"

#include <cstring>

int main() {
  CHECK(!sod2_library_kernel("") && !sod2_library_kernel("copy"));
  sod2_kernel copy = sod2_library_kernel("copy_bytes");
  CHECK(copy);
  char from[] = "0123456789", to[] = "..........";
  void *buffers[] = {from, to};
  copy(buffers, nullptr, 2, 5, nullptr);
  CHECK(std::strcmp(to, "..234.....") == 0);
  buffers[1] = from;
  copy(buffers, nullptr, 0, 10, nullptr);
  CHECK(std::strcmp(from, "0123456789") == 0);
  return 0;
}
