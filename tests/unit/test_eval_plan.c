/* test_eval_plan.c -- frames cut into chunks and shared out over ranks: every frame once, within memory, in equal shares. */
#include "ks_test.h"
#include "train/eval_plan.h"

enum { MOST = 5000 };
static int64_t g_bytes[MOST];
static double  g_work[MOST];

static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* What holds for every plan. Returns the largest load over the mean one. */
static double check_plan(int64_t n, int64_t memory, int64_t most, int size, const double *work) {
    ks_chunk_plan p, again;
    double       *load = NULL, total = 0, largest = 0, costliest = 0;
    int64_t      *count = NULL;
    uint8_t      *seen  = NULL;
    int           bad   = 0;
    T_OK(ks_chunk_plan_make(n, g_bytes, work, memory, most, size, &p));
    T_OK(ks_chunk_plan_make(n, g_bytes, work, memory, most, size, &again));
    T_OK(KS_ZNEW(load, size));
    T_OK(KS_ZNEW(count, size));
    T_OK(KS_ZNEW(seen, p.n));
    T_CHECK(p.first[0] == 0 && p.first[p.n] == n && again.n == p.n && again.least == p.least, "%lld frames",
            (long long)p.first[p.n]);
    for (int64_t c = 0; c < p.n; c++) {
        int64_t bytes = 0;
        double  cost  = 0;
        for (int64_t k = p.first[c]; k < p.first[c + 1]; k++) {
            bytes += g_bytes[k];
            cost += (double)g_bytes[k] * (work ? work[k] : 1);
        }
        const int64_t n_frame = p.first[c + 1] - p.first[c];
        bad += !(n_frame >= 1 && n_frame <= most && bytes <= memory && cost == p.cost[c]);
        bad += !(p.rank[c] >= 0 && p.rank[c] < size && p.rank[c] == again.rank[c] && p.order[c] == again.order[c]);
        bad += !(p.order[c] >= 0 && p.order[c] < p.n) || seen[p.order[c]]++;
        if (size == 1) bad += p.order[c] != c;
        if (bad) break;
        load[p.rank[c]] += cost;
        count[p.rank[c]]++;
        total += cost;
        if (cost > costliest) costliest = cost;
    }
    T_CHECK(bad == 0, "%lld frames, %d ranks: %d faults", (long long)n, size, bad);
    int64_t least = n;
    for (int r = 0; r < size; r++) {
        if (load[r] > largest) largest = load[r];
        if (count[r] < least) least = count[r];
    }
    T_CHECK(least == p.least, "%lld chunks at least, %lld said", (long long)least, (long long)p.least);
    /* whoever got the last chunk had no more than the mean before (and rounding in sums of doubles) */
    T_CHECK(largest <= total / size + costliest * (1 + 1e-12), "%d ranks: load %g of %g, costliest chunk %g", size,
            largest, total, costliest);
    ks_chunk_plan_free(&p);
    ks_chunk_plan_free(&again);
    KS_FREE(load);
    KS_FREE(count);
    KS_FREE(seen);
    return total > 0 ? largest * size / total : 1;
}

int main(void) {
    uint32_t      seed   = 5;
    const int     size[] = {1, 2, 3, 4, 7, 64};
    const int64_t n[]    = {0, 1, 2, 5, 31, 32, 33, 100, 1000, 4500};
    for (int mixed = 0; mixed < 2; mixed++) {
        for (int64_t k = 0; k < MOST; k++) {
            g_bytes[k] = mixed ? 1000 + next_random(&seed) % 100 * 1000 : 20000;
            g_work[k]  = k < 8 ? 60 : 14;
        }
        for (size_t i = 0; i < sizeof n / sizeof *n; i++)
            for (size_t r = 0; r < sizeof size / sizeof *size; r++) {
                check_plan(n[i], INT64_MAX, 32, size[r], NULL);
                check_plan(n[i], 300000, 32, size[r], g_work); /* chunks of 3 to 32 frames */
                check_plan(n[i], 101000, 1, size[r], NULL);
            }
    }
    /* Equal shares where there is enough to share: alike frames, 8 of them four times as much work, compositions mixed
     * with a hundredfold range of cost. */
    T_CHECK(check_plan(4500, INT64_MAX, 32, 3, g_work) < 1.01, "4,500 frames on 3 ranks");
    T_CHECK(check_plan(1000, INT64_MAX, 32, 8, NULL) < 1.1, "1,000 frames on 8 ranks");
    for (int64_t k = 0; k < MOST; k++) g_bytes[k] = 20000;
    T_CHECK(check_plan(100, INT64_MAX, 32, 4, g_work) < 1.15, "100 frames on 4 ranks"); /* in pieces of a fifth */
    T_CHECK(check_plan(96, INT64_MAX, 32, 3, NULL) < 1.0001, "96 frames on 3 ranks");
    /* one rank keeps chunks as large as they may be */
    ks_chunk_plan p;
    T_OK(ks_chunk_plan_make(100, g_bytes, NULL, INT64_MAX, 32, 1, &p));
    T_CHECK(p.n == 4 && p.first[1] == 32, "%lld chunks", (long long)p.n);
    ks_chunk_plan_free(&p);
    return t_done("eval_plan", 1500);
}
