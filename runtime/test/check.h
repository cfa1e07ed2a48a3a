#pragma once
#include <cstdio>
#include <cstdlib>

// A test is a main() of CHECKs: the first that fails says where and ends it.
#define CHECK(condition)                                                                           \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      std::fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);          \
      std::exit(1);                                                                                \
    }                                                                                              \
  } while (0)
