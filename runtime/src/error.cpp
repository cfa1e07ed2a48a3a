#include "error.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace sod2 {

sod2_status fail(sod2_error *error, sod2_status status, const char *format, ...) {
  if (error) {
    error->status = status;
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    drop_partial_character(error->message);
  }
  return status;
}

void drop_partial_character(char *text) {
  size_t end = std::strlen(text), start = end;
  auto byte = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
  while (start > 0 && end - start < 3 && (byte(start - 1) & 0xc0) == 0x80) // 10xxxxxx continues
    --start;
  if (start == 0 || byte(start - 1) < 0xc0)
    return;
  unsigned char first = byte(start - 1);
  size_t wants = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (end - (start - 1) < wants)
    text[start - 1] = 0;
}

} // namespace sod2
