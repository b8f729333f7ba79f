/* boys_lanes.c -- the Boys function of an array, as the integrals evaluate it: for tests of src/pointwise/boys.h. */
#include "ops/boys_table.h"
#include "pointwise/boys.h"

ks_boys_array_fn KS_ISA_NAME(ks_boys_array);
void             KS_ISA_NAME(ks_boys_array)(int L, int64_t n, const double *T, double *F) {
                const double *table = ks_boys_table() + KS_BOYS_FIRST(L) * KS_BOYS_ROW;
                for (int64_t i = 0; i < n; i += KS_LANES) {
                    ks_lane t = ks_lane_set(0.0), f[KS_BOYS_L_MAX + 1];
                    for (int k = 0; k < KS_LANES; k++) t[k] = T[i + k < n ? i + k : n - 1];
        ks_boys(L, table, t, f);
                    for (int k = 0; k < KS_LANES && i + k < n; k++)
            for (int m = 0; m <= L; m++) F[(i + k) * (L + 1) + m] = f[m][k];
    }
}
