/* frame_scalar.h -- what decides whether a frame and a step count: one formula for both backends. */
#ifndef KS_FRAME_SCALAR_H
#define KS_FRAME_SCALAR_H
#include <math.h>
#include <stdint.h>
#include "core/lane.h"

/* min(least, eps[n_occ] - eps[n_occ - 1]); without an occupied or a virtual orbital `least`, but -1 where an orbital
 * energy that decides is not finite or least is NaN. */
KS_LANE_FN double ks_lower_gap(double least, int64_t n, int32_t n_occ, const double *eps) {
    const int    has = n_occ > 0 && n_occ < n;
    const double lo = eps[has ? n_occ - 1 : 0], hi = eps[has ? n_occ : 0], gap = hi - lo;
    if (!(fabs(gap) <= 1e300) || !(fabs(lo) <= 1e300) || !(least == least)) return -1.0;
    return has && gap < least ? gap : least;
}

/* 1 when the energy is finite, the gap large enough, and the frame has counted so far; else 0. */
KS_LANE_FN double ks_frame_counts(double E, double gap, double gap_min, double so_far) {
    return fabs(E) <= 1e300 && gap >= gap_min && so_far != 0.0 ? 1.0 : 0.0;
}

/* ks_clip of ksgrad/optim.h. */
KS_LANE_FN void ks_clip_point(double clip, double n_frame, double sum_squares, double n_counted, double *norm,
                              double *scale, double *ok) {
    const double s = n_frame / n_counted, length = s * sqrt(sum_squares);
    const int    good = length <= 1e300 && 2.0 * n_counted >= n_frame; /* false for NaN */
    *norm             = length;
    *ok               = good ? 1.0 : 0.0;
    *scale            = !good ? 0.0 : clip > 0.0 && length > clip ? s * (clip / length) : s;
}
#endif
