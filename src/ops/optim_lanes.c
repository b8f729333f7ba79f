/* optim_lanes.c -- see optim_lanes.h. Loops are written for the vectoriser; sums have 16 accumulators whose order of
 * addition is fixed by the source, so that the instruction set changes only fused multiply-adds. */
#include "ops/optim_lanes.h"
#include <math.h>
#include "core/lane.h"
#include "pointwise/bf16.h"

enum { ACC = 16 };

#define KS_REAL float
#define KS_FN(name) name##_f32
#define KS_SQRT sqrtf
#include "ops/optim_real.inc"
#define KS_REAL double
#define KS_FN(name) name##_f64
#define KS_SQRT sqrt
#include "ops/optim_real.inc"

extern const ks_optim_lanes KS_ISA_NAME(ks_optim_lanes);
const ks_optim_lanes        KS_ISA_NAME(ks_optim_lanes) = {
           .sum_squares_f32 = sum_squares_f32,
           .sum_squares_f64 = sum_squares_f64,
           .adamw_f32       = adamw_f32,
           .adamw_f64       = adamw_f64,
           .pack_f32        = pack_f32,
           .pack_f64        = pack_f64,
           .unpack_f32      = unpack_f32,
           .unpack_f64      = unpack_f64,
};
