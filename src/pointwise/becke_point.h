/* becke_point.h -- Becke's cell function of a pair of atoms with Treutler's size adjustment.
 * doi:10.1063/1.454033, doi:10.1063/1.469408 */
#ifndef KS_BECKE_POINT_H
#define KS_BECKE_POINT_H
#include "pointwise/lane_math.h"

/* mu = (r_i - r_j)/R_ij, nu = mu + a (1 - mu^2), p(p(p(nu))) with p(t) = (3 - t^2) t/2: the cell of i gets the factor
 * (1 - p)/2, that of j (1 + p)/2. */
KS_LANE_FN ks_lane ks_becke_pair(ks_lane mu, double a) {
    ks_lane t = mu + a * (1.0 - mu * mu);
    t         = (3.0 - t * t) * t * 0.5;
    t         = (3.0 - t * t) * t * 0.5;
    t         = (3.0 - t * t) * t * 0.5;
    return t;
}
#endif
