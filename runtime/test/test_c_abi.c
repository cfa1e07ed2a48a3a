/* The header is C, and a C program can ask for what it needs. */
#include "sod2rt.h"

#include <string.h>

int main(void) {
  sod2_program *program = 0;
  sod2_error error;
  int64_t nothing[4] = {0, 0, 0, 0};
  memset(&error, 0, sizeof error);
  if (sod2_program_create(nothing, 4, 0, 0, 0, 0, 0, 0, &program, &error) != SOD2_BAD_IMAGE || program)
    return 1;
  if (error.status != SOD2_BAD_IMAGE || !strstr(error.message, "image"))
    return 2;
  sod2_program_destroy(0);
  return 0;
}
