#include "error.h"

#include <cstdarg>
#include <cstdio>

namespace sod2 {

sod2_status fail(sod2_error *error, sod2_status status, const char *format, ...) {
  if (error) {
    error->status = status;
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
  }
  return status;
}

} // namespace sod2
