/* sod2rt: runs a compiled Program at any size. C ABI of the runtime library.
 *
 * Every function that can fail returns a status and fills `sod2_error` (which may be null). No
 * exception crosses this interface, and no memory is allocated by it but through the hooks. All
 * functions may be called from any thread. */
#ifndef SOD2RT_H
#define SOD2RT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SOD2_API __attribute__((visibility("default")))
#else
#define SOD2_API
#endif

typedef enum sod2_status {
  SOD2_OK = 0,
  SOD2_BAD_IMAGE = 1,    /* truncated, corrupt, or of another format version */
  SOD2_BAD_ARGUMENT = 2, /* wrong count, null pointer, misaligned data */
  SOD2_NO_MEMORY = 3,    /* the allocation hook returned null; the program stays usable */
  SOD2_OVERFLOW = 4,     /* a size does not fit into 63 bits */
  SOD2_MISFIT = 5,       /* another version of the function is needed for these shapes */
  SOD2_CONTRACT = 6,     /* the caller broke a declared constraint */
  SOD2_CHECK = 7,        /* a check in the middle of the function failed at these sizes */
  SOD2_INTERRUPTED = 8,  /* the poll hook said stop; the outputs hold nothing of use */
  SOD2_HOST = 9          /* the host hook refused, or there is none */
} sod2_status;

typedef struct sod2_error {
  sod2_status status;
  char message[1020];
} sod2_error;

/* What a host function reads or writes; its memory is the runtime's, during the call only. */
typedef struct sod2_host_array {
  void *data;
  int64_t dtype; /* code of sod2jax/image.py */
  int64_t rank;
  const int64_t *dims;
} sod2_host_array;

/* Null members, or a null pointer instead of the struct, stand for the defaults of the library.
 * `host` and `poll` are called by the thread that called sod2_run, with its own treatment of
 * denormal floats. */
typedef struct sod2_hooks {
  void *user;
  void *(*alloc)(void *user, size_t bytes, size_t align);
  void (*free)(void *user, void *data, size_t bytes);
  /* Calls a function of the process. By default, programs with host calls fail at them. */
  sod2_status (*host)(void *user, int64_t function, const sod2_host_array *reads, size_t n_reads,
                      const sod2_host_array *writes, size_t n_writes, sod2_error *error);
  /* Asked every some ten milliseconds of a long loop; not 0: the run ends, with
   * SOD2_INTERRUPTED. */
  int (*poll)(void *user);
  /* Not 0: memory that holds nothing is filled with a pattern that shows where it is read. */
  int poison;
} sod2_hooks;

typedef void (*sod2_kernel)(void **buffers, const int64_t *sizes, int64_t begin, int64_t end,
                            void *scratch);

typedef struct sod2_program sod2_program;
typedef struct sod2_plan sod2_plan; /* everything that depends on the shapes only */

/* One axis after the other, input after input. */
typedef struct sod2_input {
  const void *data;
  uint64_t
      token; /* names immutable contents; 0: unknown, what was prepared from it is prepared again */
} sod2_input;

typedef struct sod2_tensor_info {
  const char *path; /* of inputs, as users write it; null for outputs */
  int64_t dtype;    /* code of sod2jax/image.py, which names it */
  int64_t item_bytes;
  int64_t rank;
  int64_t forward; /* of outputs: the input handed back as it is, or -1 */
  int64_t donor;   /* of outputs: the input that it may lie over, or -1 */
} sod2_tensor_info;

typedef struct sod2_plan_info {
  int64_t arena_bytes, cached_bytes, scratch_bytes, output_bytes, work;
} sod2_plan_info;

/* The image (a stream of little-endian words) and the constants are not copied: they must outlive
 * the program. `n_hosts`: the host hook knows the functions 0 to n_hosts - 1. */
SOD2_API sod2_status sod2_program_create(const int64_t *image, size_t words,
                                         const sod2_kernel *kernels, size_t n_kernels,
                                         const void *const *constants, size_t n_constants,
                                         size_t n_hosts, const sod2_hooks *hooks,
                                         sod2_program **program, sod2_error *error);
SOD2_API void sod2_program_destroy(sod2_program *program);
SOD2_API int64_t sod2_program_inputs(const sod2_program *program);
SOD2_API int64_t sod2_program_outputs(const sod2_program *program);
SOD2_API int64_t sod2_program_dims(const sod2_program *program); /* total rank of the inputs */
SOD2_API void sod2_program_input(const sod2_program *program, int64_t i, sod2_tensor_info *info);
SOD2_API void sod2_program_output(const sod2_program *program, int64_t i, sod2_tensor_info *info);
/* 1 if some prepared buffer depends on input i: then its token saves work. */
SOD2_API int sod2_program_prepares(const sod2_program *program, int64_t i);

/* Finds or makes the plan of these input dims; `release` it when done. */
SOD2_API sod2_status sod2_plan_acquire(sod2_program *program, const int64_t *dims, size_t n_dims,
                                       sod2_plan **plan, sod2_error *error);
SOD2_API void sod2_plan_retain(sod2_plan *plan);
SOD2_API void sod2_plan_release(sod2_plan *plan);
SOD2_API void sod2_plan_describe(const sod2_plan *plan, sod2_plan_info *info);
SOD2_API const int64_t *sod2_plan_output_dims(const sod2_plan *plan, int64_t i);
SOD2_API int64_t sod2_plan_output_bytes(const sod2_plan *plan, int64_t i);

/* Runs all steps. `outputs` are 64-byte aligned buffers of `sod2_plan_output_bytes`; forwarded
 * outputs are copied. An output may lie at the address of its donor, whose contents are lost then;
 * no other memory may overlap. `step_ns`, if not null, receives the time of each step, of all its
 * iterations; that of a step which holds others includes theirs. */
SOD2_API sod2_status sod2_run(sod2_program *program, sod2_plan *plan, const sod2_input *inputs,
                              void *const *outputs, int64_t *step_ns, sod2_error *error);

#ifdef __cplusplus
}
#endif

#include "sod2rt_more.h" /* threads, block pool, introspection */

#endif
