#pragma once
#include "sod2rt.h"

#include <atomic>

// Counts what is allocated, by the hooks and by operator new.
struct Counting {
  Counting();
  sod2_hooks hooks;
  std::atomic<long> allocations{0}, frees{0};
  std::atomic<long long> bytes{0};
  std::atomic<long long> limit{-1}; // more bytes than this are refused; -1: none
};
long news(); // calls of operator new of the whole process so far
