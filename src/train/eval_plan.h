/* eval_plan.h -- how frames are cut into chunks, and chunks shared out over ranks. Private; see ks_chunks in eval.h. */
#ifndef KS_EVAL_PLAN_H
#define KS_EVAL_PLAN_H
#include "ksgrad/status.h"
#include <stdint.h>

typedef struct ks_chunk_plan {
    int64_t  n;     /* chunks */
    int64_t *first; /* (n + 1) chunk c is frames first[c] .. first[c + 1] - 1 */
    double  *cost;  /* (n) */
    int32_t *rank;  /* (n) who works on it */
    int64_t *order; /* (n) chunks in the order in which they are worked on: of the file for one rank, else by cost */
    int64_t  least; /* chunks of the rank that has fewest */
} ks_chunk_plan;

/* bytes, work (n_frame): memory of a frame, and its work in units of that memory (see ks_chunk_options). Every rank that
 * calls this with the same arguments gets the same plan. No frame needs more than memory. */
KS_NODISCARD ks_status ks_chunk_plan_make(int64_t n_frame, const int64_t *bytes, const double *work, int64_t memory,
                                          int64_t max_frames, int size, ks_chunk_plan *out);
void                   ks_chunk_plan_free(ks_chunk_plan *plan);
#endif
