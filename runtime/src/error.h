#pragma once
#include "sod2rt.h"

namespace sod2 {

// Fills `error` (may be null) and hands the status back, so that a failing branch is one line.
#if defined(__GNUC__)
__attribute__((cold, format(printf, 3, 4)))
#endif
sod2_status fail(sod2_error *error, sod2_status status, const char *format, ...);

// Takes an incomplete last character off a UTF-8 text that was cut to fit.
void drop_partial_character(char *text);

} // namespace sod2
