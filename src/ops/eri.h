/* eri.h -- the stored two-electron integrals of the CPU backend: order of shells, pairs, rows and tiles. Private.
 *
 * Internal order. Shells are sorted by angular momentum, so that AOs form an s, a p and a d block, each padded to a
 * multiple of the store width W (8 with AVX-512, else 4). A shell pair (I >= J) belongs to one of six classes
 * ss < ps < pp < ds < dp < dd; pairs are ranked by class, then I, then J, and the bra is always the higher pair.
 *
 * Store. One row per AO pair ij: the values (ij|kl) of all kl of lower or equal rank, as a prefix of one global
 * sequence of tiles of 4 k-rows by W l-columns: [ij][tile][4][W]. A strip is the run of tiles of four k-rows within one
 * class. Values of i = j, k = l and ij = kl are halved, everything outside the ranked triangle is zero, so that each
 * stored value stands for its eight permutations (jk_lanes.c). A pass over the store is one sequential stream. */
#ifndef KS_ERI_H
#define KS_ERI_H
#include "core/backend.h"
#include "ksgrad/system.h"

enum {
    KS_N_CLASS   = 6,
    KS_TILE_ROWS = 4,
    KS_PAIR_GEOM = 4, /* p, Px, Py, Pz in front of the coefficients of a primitive pair */
    KS_DM_MAX    = 4, /* densities of one pass over the store */
    KS_CHUNK_MAX = 16 /* J/K work of a frame is cut into at most this many chunks, by the problem alone */
};

typedef struct ks_eri_shell {
    int32_t       l, atom, n_prim;
    int32_t       ao, ao_ext; /* first AO in internal (padded) and PySCF order */
    const double *exponent, *coef;
} ks_eri_shell;

typedef struct ks_eri_pair {
    int32_t I, J; /* internal shells, I >= J */
    int32_t cls;
    int32_t n_row, n_tile; /* AO pairs stored and tiles of each */
    int32_t row;           /* its first row */
    int32_t prim;          /* its first primitive pair within the class */
    int32_t place;         /* first of its n_fn entries in plan->place */
    int64_t offset;        /* of the first row, in doubles */
} ks_eri_pair;

typedef struct ks_eri_row {
    int32_t i, j; /* internal AOs */
    int32_t n_tile;
    int32_t n_strip; /* strips touched; the last may be cut short */
    int32_t place;   /* of ij itself in tile order */
} ks_eri_row;

typedef struct ks_eri_strip {
    int32_t k0, l0; /* first AO row and column */
    int32_t tile;   /* its first tile; the sentinel behind the last strip ends the sequence */
} ks_eri_strip;

/* Ket pairs come in groups of consecutive rank; within a group lanes are filled in order of size, frame by frame. */
typedef struct ks_eri_group {
    int32_t first, n;   /* pairs */
    int32_t n_block;    /* lane blocks */
    int32_t block;      /* first lane block within the class */
    int32_t n_prim_max; /* primitives of its largest pair */
} ks_eri_group;

typedef struct ks_eri_plan {
    const struct ks_eri_isa *isa;
    int32_t                  width; /* W */
    int32_t                  n_ao, n_pad;
    int32_t                  n_atom, n_shell;
    ks_eri_shell            *shell;
    int32_t                 *ao_of_ext;   /* (n_ao) internal place of each AO */
    int32_t                  ao_block[4]; /* first padded AO of each angular momentum */
    int32_t                  n_pair;
    ks_eri_pair             *pair;
    int32_t                 *pair_of; /* (n_shell, n_shell) I >= J */
    int32_t                  class_pair[KS_N_CLASS + 1], class_prim[KS_N_CLASS];
    int32_t                  n_group;
    ks_eri_group            *group;
    int32_t                  class_group[KS_N_CLASS + 1], class_block[KS_N_CLASS];
    int32_t                  n_strip, n_tile;
    ks_eri_strip            *strip; /* (n_strip + 1) */
    int32_t                  class_strip[KS_N_CLASS + 1];
    int32_t                 *place; /* of each function of each pair in a row; -1: m_k < m_l of one shell with itself */
    int64_t                  n_row;
    ks_eri_row              *row;
    int64_t                  n_store; /* doubles of one frame */
    int32_t                  n_chunk;
    int64_t                  chunk_row[KS_CHUNK_MAX + 1], chunk_offset[KS_CHUNK_MAX + 1];
} ks_eri_plan;

/* Pair tables of one frame and class. Scalar records for the bra: [prim][4 + n_term], sorted by falling bound; lane
 * blocks for the ket: [block][prim][4 + n_term][W], with places in the row. */
typedef struct ks_eri_class_table {
    double  *prim;   /* scalar records */
    double  *bound;  /* (primitive pairs) */
    int32_t *n_prim; /* (pairs) that survive */
    double  *lane;   /* lane records */
    double  *lane_bound;
    int32_t *lane_prim;  /* (blocks) primitives, 0: nothing left */
    int32_t *lane_first; /* (blocks) first primitive record of the block */
    int32_t *lane_pair;  /* (blocks, lanes) pair within the class, -1: padding */
    int32_t *place;      /* (blocks, n_fn, lanes) place in a row; -1: not stored */
} ks_eri_class_table;

typedef struct ks_eri_table {
    const ks_eri_plan *plan;
    const double      *boys;
    ks_eri_class_table c[KS_N_CLASS];
} ks_eri_table;

/* What depends on the instruction set. */
typedef struct ks_eri_isa {
    int32_t lanes, width;
    void (*bra)(const ks_eri_table *tab, int32_t pair, double *buf, double *store);
    void (*jk)(const ks_eri_plan *plan, int64_t row0, int64_t row1, const double *store, int n_dm, int64_t stride,
               const double *DJ, const double *DK, double *Y, double *X, double *tmp);
} ks_eri_isa;
extern const ks_eri_isa ks_eri_isa_base, ks_eri_isa_avx2, ks_eri_isa_avx512;
const ks_eri_isa       *ks_eri_isa_current(void);

/* A pool on the CPU: what ks_eri.impl points to. */
typedef struct ks_eri_cpu {
    ks_eri_plan  *plan;
    double       *store; /* (capacity, n_store) */
    const double *boys;
} ks_eri_cpu;

/* Sizes of a class. */
static const int ks_class_l[KS_N_CLASS]      = {0, 1, 2, 2, 3, 4};
static const int ks_class_la[KS_N_CLASS]     = {0, 1, 1, 2, 2, 2};
static const int ks_class_lb[KS_N_CLASS]     = {0, 0, 1, 0, 1, 2};
static const int ks_class_n_fn[KS_N_CLASS]   = {1, 3, 9, 5, 15, 25};
static const int ks_class_n_term[KS_N_CLASS] = {1, 6, 33, 24, 122, 391};

KS_NODISCARD ks_status ks_eri_plan_create(const ks_system *sys, ks_eri_plan **out);
void                   ks_eri_plan_destroy(ks_eri_plan **plan);
/* (ij|kl) of a store, AOs in PySCF order. */
double  ks_eri_plan_value(const ks_eri_plan *plan, const double *store, int64_t i, int64_t j, int64_t k, int64_t l);
int32_t ks_eri_row_place(const ks_eri_plan *plan, int32_t cls, int32_t k, int32_t l); /* in a row, doubles */

int64_t ks_eri_table_bytes(const ks_eri_plan *plan);
/* Takes the tables of one frame from the arena (a bound on their size, known from the plan), and fills one class. */
KS_NODISCARD ks_status ks_eri_table_take(const ks_eri_plan *plan, ks_arena *arena, ks_eri_table *tab);
void                   ks_eri_table_fill(const ks_eri_plan *plan, const double *pos, int32_t cls, ks_eri_table *tab);

/* Smallest product of primitive bounds that is computed. */
#define KS_ERI_THRESHOLD 1e-15
#endif
