/* The rest of the C ABI: threads, the pool of output blocks, and questions that only tools and
 * tests ask. */
#ifndef SOD2RT_MORE_H
#define SOD2RT_MORE_H

#include "sod2rt.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Threads that run steps, the caller's included. Default: SOD2_NUM_THREADS, or the CPUs that this
 * process may use. */
SOD2_API int sod2_threads(void);
SOD2_API void sod2_set_threads(int count);

/* Blocks for outputs: 64-byte aligned, reused when freed, with SOD2_BLOCK_HEADER bytes before the
 * data for their owner. */
#define SOD2_BLOCK_HEADER 256
typedef struct sod2_block_pool sod2_block_pool;
SOD2_API sod2_block_pool *sod2_block_pool_create(const sod2_hooks *hooks);
/* Frees the idle blocks; those in use are freed when their owners return them. */
SOD2_API void sod2_block_pool_destroy(sod2_block_pool *pool);
SOD2_API void *sod2_block_get(sod2_block_pool *pool, size_t bytes); /* null: no memory */
SOD2_API void sod2_block_put(void *data);
SOD2_API size_t sod2_block_bytes(const void *data); /* at least as many as were asked for */
SOD2_API void sod2_block_pool_stats(sod2_block_pool *pool, int64_t *live_bytes,
                                    int64_t *idle_bytes);

typedef struct sod2_program_stats {
  int64_t plans, contexts, arena_bytes, cached_bytes, scratch_bytes;
} sod2_program_stats;
SOD2_API void sod2_program_get_stats(sod2_program *program, sod2_program_stats *stats);

/* A kernel that this library brings along; null if there is none of that name. */
SOD2_API sod2_kernel sod2_library_kernel(const char *name);

/* Steps are counted as they are held: a loop or a branch first, then what is in it. */
SOD2_API int64_t sod2_program_steps(const sod2_program *program);
SOD2_API const char *sod2_program_step_source(const sod2_program *program, int64_t step);
SOD2_API int64_t sod2_program_slots(const sod2_program *program);
SOD2_API int64_t sod2_program_symbols(const sod2_program *program);
SOD2_API const char *sod2_program_symbol(const sod2_program *program, int64_t symbol);
SOD2_API int64_t sod2_plan_symbol(const sod2_plan *plan, int64_t symbol);
/* extent: of a branch, its choices; of a loop, its length, or -1. work: of everything that is held;
 * of a branch, the most. */
SOD2_API void sod2_plan_step(const sod2_program *program, const sod2_plan *plan, int64_t step,
                             int64_t *extent, int64_t *work);
/* kind: 0 input, 1 output, 2 arena, 3 constant, 4 cached. */
SOD2_API void sod2_plan_slot(const sod2_program *program, const sod2_plan *plan, int64_t slot,
                             int64_t *kind, int64_t *offset, int64_t *bytes);

#ifdef __cplusplus
}
#endif

#endif
