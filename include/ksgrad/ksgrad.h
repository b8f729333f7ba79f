/* ksgrad.h -- everything. */
#ifndef KSGRAD_H
#define KSGRAD_H
#include "ksgrad/arena.h"
#include "ksgrad/batch.h"
#include "ksgrad/checkpoint.h"
#include "ksgrad/config.h"
#include "ksgrad/context.h"
#include "ksgrad/geometry.h"
#include "ksgrad/grid.h"
#include "ksgrad/integrals.h"
#include "ksgrad/linalg.h"
#include "ksgrad/log.h"
#include "ksgrad/loss.h"
#include "ksgrad/model.h"
#include "ksgrad/optim.h"
#include "ksgrad/params.h"
#include "ksgrad/refine.h"
#include "ksgrad/rng.h"
#include "ksgrad/scf.h"
#include "ksgrad/status.h"
#include "ksgrad/system.h"
#include "ksgrad/xc.h"
#endif
