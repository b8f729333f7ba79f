/* probe_lanes.c -- which lane width a build of the lane files has. */
#include "core/lane.h"
int KS_ISA_NAME(ks_lane_width)(void);
int KS_ISA_NAME(ks_lane_width)(void) { return KS_LANES; }
