/* test_data.c -- splits, data files, labels: round trips, the published split, damage, resuming, faults. */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "io/h5.h"
#include "io/sha256.h"
#include "ks_test.h"

#define FIXTURE(name) KS_TEST_SOURCE_DIR "/tests/fixtures/geom_" name ".npz"

/* HDF5 1.10 itself leaks when it refuses some damaged files; the leak checker looks away there and only there. */
extern void __lsan_disable(void) __attribute__((weak));
extern void __lsan_enable(void) __attribute__((weak));
extern int  H5set_free_list_limits(int, int, int, int, int, int);

static char        dir[64];
static const char *at(const char *name) {
    static char path[4][128];
    static int  k;
    k = (k + 1) % 4;
    snprintf(path[k], sizeof path[k], "%s/%s", dir, name);
    return path[k];
}

static void hashes(void) {
    ks_sha256   h;
    char        hex[65];
    static char a[1000];
    ks_sha256_start(&h);
    ks_sha256_add(&h, "abc", 3);
    ks_sha256_end(&h, hex);
    T_CHECK(strcmp(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad") == 0, "%s", hex);
    memset(a, 'a', sizeof a);
    ks_sha256_start(&h);
    for (int k = 0; k < 1000; k++) ks_sha256_add(&h, a, sizeof a);
    ks_sha256_end(&h, hex);
    T_CHECK(strcmp(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0") == 0, "%s", hex);
    ks_sha256_start(&h);
    ks_sha256_end(&h, hex);
    T_CHECK(strcmp(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855") == 0, "%s", hex);
}

/* Values from NumPy: tests/fixtures/make_splits.py. */
static void splits(void) {
    static const struct {
        uint64_t    seed;
        int64_t     n, sizes[3], first[5], last[3];
        const char *sha;
    } c[]       = {{42,
                    30000,
                    {25000, 500, 4500},
                    {2308, 22404, 23397, 25058, 2664},
                    {860, 15795, 23654},
                    "9dfb684f3cf9bd6470dc7ab90c5edbd12138a081e7589292e9c9e130af5d75c1"},
                   {0,
                    10,
                    {5, 2, -1},
                    {2, 8, 4, 9, 1},
                    {3, 0, 5},
                    "0b329a61ab9a4d0f75dfdb624a96c38fd5d57ec175a2d8835d66ba8dfaa89b44"},
                   {123,
                    1000,
                    {950, -1, 0},
                    {131, 203, 50, 585, 138},
                    {382, 365, 510},
                    "c6d9c3772f6f60d7d1302aa7f2276b13f6ec39194d12c907d9a3512383b49bc0"}};
    ks_split *s = NULL, *t = NULL;
    for (int k = 0; k < 3; k++) {
        T_OK(ks_split_make("numpy-legacy", c[k].seed, c[k].n, c[k].sizes, &s));
        T_CHECK(strcmp(s->sha256, c[k].sha) == 0, "%s", s->sha256);
        const int     p    = s->n[2] ? 2 : 1;
        const int64_t last = s->n[p];
        for (int i = 0; i < 5; i++) T_CHECK(s->index[0][i] == c[k].first[i], "%lld", (long long)s->index[0][i]);
        for (int i = 0; i < 3; i++) {
            if (last < 3) continue;
            T_CHECK(s->index[p][last - 3 + i] == c[k].last[i], "%lld", (long long)s->index[p][last - 3 + i]);
        }
        ks_split_destroy(&s);
    }
    /* random: a permutation; repeatable; depends on the seed. */
    const int64_t sizes[3] = {60, 20, 20}, small[3] = {6, 2, 1};
    char          seen[100] = {0};
    T_OK(ks_split_make("random", 1, 100, sizes, &s));
    T_OK(ks_split_make("random", 1, 100, sizes, &t));
    T_CHECK(strcmp(s->sha256, t->sha256) == 0, "repeatable");
    int fixed = 0;
    for (int p = 0, i = 0; p < 3; p++)
        for (int64_t k = 0; k < s->n[p]; k++, i++) {
            seen[s->index[p][k]]++;
            fixed += s->index[p][k] == i;
        }
    for (int i = 0; i < 100; i++) T_CHECK(seen[i] == 1, "frame %d: %d times", i, seen[i]);
    T_CHECK(fixed < 10, "%d frames stay in place", fixed);
    ks_split_destroy(&t);
    T_OK(ks_split_make("random", 2, 100, sizes, &t));
    T_CHECK(strcmp(s->sha256, t->sha256) != 0, "depends on the seed");
    ks_split_destroy(&s);
    ks_split_destroy(&t);
    const int64_t bad[6][3] = {{50, 50, 1}, {-1, -1, 1}, {-2, 1, 1}, {0, 0, 0}, {101, 0, 0}, {INT64_MAX, INT64_MAX, 2}};
    for (int k = 0; k < 6; k++) {
        T_ERR(ks_split_make("random", 1, 100, bad[k], &s), KS_ERR_ARG);
        T_CHECK(!s, "case %d", k);
    }
    T_ERR(ks_split_make("Random", 1, 100, sizes, &s), KS_ERR_ARG);
    T_ERR(ks_split_make("numpy-legacy", (uint64_t)1 << 32, 100, sizes, &s), KS_ERR_ARG);
    /* From files. */
    T_OK(ks_split_read(FIXTURE("index"), 3, &s));
    T_CHECK(s->n[0] == 2 && s->n[1] == 1 && s->n[2] == 0 && s->index[0][0] == 2 && s->index[1][0] == 1, "npz index");
    ks_split_destroy(&s);
    T_ERR(ks_split_read(FIXTURE("index"), 2, &s), KS_ERR_DATA);
    T_ERR(ks_split_read(FIXTURE("md17"), 3, &s), KS_ERR_DATA);
    FILE *f = fopen(at("a.txt"), "w");
    T_CHECK(f, "temporary");
    if (!f) return;
    fputs("# frames\n3\n1\r\n\n2 # last\n", f);
    fclose(f);
    char both[300];
    snprintf(both, sizeof both, ",,%s", at("a.txt"));
    T_OK(ks_split_read(both, 4, &s));
    T_CHECK(s->n[0] == 0 && s->n[2] == 3 && s->index[2][0] == 3 && s->index[2][2] == 2, "text index");
    ks_split_destroy(&s);
    T_ERR(ks_split_read(at("a.txt"), 3, &s), KS_ERR_DATA); /* frame 3 of 3 */
    snprintf(both, sizeof both, "%s,%s", at("a.txt"), at("a.txt"));
    T_ERR(ks_split_read(both, 4, &s), KS_ERR_DATA);
    T_CHECK(strstr(ks_error_message(), "twice"), "%s", ks_error_message());
    T_ERR(ks_split_read("a,b,c,d", 4, &s), KS_ERR_IO);
    f = fopen(at("a.txt"), "w");
    if (f) {
        fputs("3\n1", f);
        fclose(f);
    }
    T_ERR(ks_split_read(at("a.txt"), 30, &s), KS_ERR_DATA); /* may be the beginning of 12 */
    remove(at("a.txt"));
    T_OK(ks_split_make("random", 1, 10, small, &s));
    ks_split_destroy(&s);
}

/* Frames of three compositions, mixed, with a charge; external data on request. */
static ks_frames *mixture(int external) {
    const char *path = at("m.xyz");
    FILE       *f    = fopen(path, "w");
    ks_frames  *fr   = NULL;
    if (!f) exit(1);
    for (int k = 0; k < 7; k++) {
        const char *columns = external ? "Properties=species:S:1:pos:R:3:forces:R:3" : "charge=0";
        const char *force   = external ? " 0.1 0.2 0.3" : "";
        fprintf(f, k % 3 == 1 ? "2\n" : "3\n");
        if (external) fprintf(f, "%s energy=%d.5 charge=%d\n", columns, k, k == 4);
        else fprintf(f, "charge=%d\n", k == 4);
        if (k % 3 == 0) fprintf(f, "O 0 0 0.1%d3%s\nH 0 0.757 -0.469%s\nH 0 -0.757 -0.469%s\n", k, force, force, force);
        if (k % 3 == 1) fprintf(f, "H 0 0 0%s\nF 0 0 0.9%d7%s\n", force, k, force);
        if (k % 3 == 2) fprintf(f, "H 0 0.757 -0.469%s\nO 0 0 0.1%d3%s\nH 0 -0.757 -0.469%s\n", force, k, force, force);
    }
    fclose(f);
    T_OK(ks_frames_read(path, &fr));
    remove(path);
    return fr;
}

static int same_frames(const ks_frames *a, const ks_frames *b) {
    const size_t n = (size_t)a->atom_off[a->n_frame];
    return a->n_frame == b->n_frame && !memcmp(a->atom_off, b->atom_off, (size_t)(a->n_frame + 1) * 8) &&
           !memcmp(a->Z, b->Z, n * 4) && !memcmp(a->pos, b->pos, n * 24) &&
           !memcmp(a->charge, b->charge, (size_t)a->n_frame * 4) && !a->external_energy == !b->external_energy &&
           !a->external_force == !b->external_force &&
           (!a->external_energy || !memcmp(a->external_energy, b->external_energy, (size_t)a->n_frame * 8)) &&
           (!a->external_force || !memcmp(a->external_force, b->external_force, n * 24)) &&
           !strcmp(a->external_unit, b->external_unit);
}

static void files(void) {
    const ks_data_origin origin = {"somewhere", NULL, "CC0", "a \"note\"\nof two lines"};
    for (int external = 0; external < 2; external++) {
        ks_frames *f = mixture(external), *g = NULL, *h = NULL;
        ks_data   *d    = NULL;
        char      *text = NULL;
        T_OK(ks_data_write(at("d.h5"), f, &origin));
        T_CHECK(ks_data_is_data(at("d.h5")) && !ks_data_is_data(FIXTURE("md17")) && !ks_data_is_data("/no/file"),
                "is data");
        T_OK(ks_frames_read(at("d.h5"), &g));
        T_CHECK(same_frames(f, g), "bit for bit");
        T_OK(ks_data_open(at("d.h5"), &d));
        T_CHECK(ks_data_n_frame(d) == 7, "frames");
        const int64_t idx[5] = {6, 0, 4, 0, 5}, far[1] = {7};
        ks_frames_destroy(&g);
        T_OK(ks_data_frames(d, 5, idx, &g));
        T_OK(ks_frames_select(f, 5, idx, &h));
        T_CHECK(same_frames(g, h), "selection");
        ks_frames_destroy(&h);
        T_ERR(ks_data_frames(d, 1, far, &h), KS_ERR_ARG);
        T_OK(ks_data_describe(d, &text));
        T_CHECK(strstr(text, "7 of 3 compositions") && strstr(text, "H2O_0") && strstr(text, "HF_1") &&
                    strstr(text, "H2O_2") && strstr(text, "CC0") && strstr(text, "splits: 0") &&
                    strstr(text, "labels: 0"),
                "%s", text);
        KS_FREE(text);
        ks_frames_destroy(&f);
        ks_frames_destroy(&g);
        ks_data_close(&d);
        ks_data_close(&d);
    }
    /* Every real geometry survives the way through Angstrom bit for bit. */
    ks_frames *f = NULL, *g = NULL;
    T_OK(ks_frames_read(KS_TEST_SOURCE_DIR "/datasets/uracil-512.npz", &f));
    T_CHECK(f->n_frame == 512 && f->atom_off[1] == 12, "sample");
    T_OK(ks_data_write(at("u.h5"), f, NULL));
    T_OK(ks_frames_read(at("u.h5"), &g));
    T_CHECK(same_frames(f, g), "bit for bit");
    ks_frames_destroy(&g);
    /* Files that are not ours are not replaced. */
    FILE *x = fopen(at("x.txt"), "w");
    if (x) fclose(x);
    T_ERR(ks_data_write(at("x.txt"), f, NULL), KS_ERR_IO);
    T_ERR(ks_data_write("/no/folder/x.h5", f, NULL), KS_ERR_IO);
    remove(at("x.txt"));
    remove(at("u.h5"));
    ks_frames_destroy(&f);
    ks_h5 *h5 = NULL;
    T_OK(ks_h5_create(at("o.h5"), &h5));
    T_OK(ks_h5_publish(&h5));
    T_ERR(ks_frames_read(at("o.h5"), &f), KS_ERR_DATA);
    T_CHECK(strstr(ks_error_message(), "not a ksgrad data file"), "%s", ks_error_message());
    T_OK(ks_h5_edit(at("o.h5"), &h5));
    T_OK(ks_h5_set_string(h5, "/", "format", "ksgrad-dataset"));
    T_OK(ks_h5_set_i64(h5, "/", "format_version", 2));
    T_OK(ks_h5_publish(&h5));
    T_ERR(ks_frames_read(at("o.h5"), &f), KS_ERR_DATA);
    T_CHECK(strstr(ks_error_message(), "version 2"), "%s", ks_error_message());
    remove(at("o.h5"));
}

static void file_splits(void) {
    ks_data      *d = NULL;
    ks_split     *s = NULL, *t = NULL;
    int64_t      *idx = NULL, n = 0;
    const int64_t sizes[3] = {4, 1, 2}, more[3] = {4, 1, 4};
    ks_h5        *h5 = NULL;
    T_OK(ks_split_make("numpy-legacy", 7, 7, sizes, &s));
    T_OK(ks_data_split_write(at("d.h5"), "qpt", s, 0));
    T_ERR(ks_data_split_write(at("d.h5"), "qpt", s, 0), KS_ERR_ARG);
    T_OK(ks_data_split_write(at("d.h5"), "qpt", s, 1));
    T_ERR(ks_data_split_write(at("d.h5"), "a/b", s, 0), KS_ERR_ARG);
    T_ERR(ks_data_split_write(at("d.h5"), "test", s, 0), KS_ERR_ARG);
    T_ERR(ks_data_split_write(at("d.h5"), "", s, 0), KS_ERR_ARG);
    T_OK(ks_data_open(at("d.h5"), &d));
    T_OK(ks_data_split_read(d, "qpt", &t));
    T_CHECK(!strcmp(t->sha256, s->sha256) && !strcmp(t->method, "numpy-legacy") && t->seed == 7 && t->n[0] == 4 &&
                t->n[2] == 2 && !memcmp(t->index[0], s->index[0], 32),
            "split read");
    T_OK(ks_data_split_frames(d, "qpt/test", &idx, &n));
    T_CHECK(n == 2 && idx[0] == s->index[2][0] && idx[1] == s->index[2][1], "test part");
    KS_FREE(idx);
    T_OK(ks_data_split_frames(d, "train", &idx, &n)); /* of the only split */
    T_CHECK(n == 4 && idx[3] == s->index[0][3], "train part");
    KS_FREE(idx);
    T_OK(ks_data_split_frames(d, "qpt", &idx, &n));
    T_CHECK(n == 7 && idx[4] == s->index[1][0], "all parts");
    KS_FREE(idx);
    T_ERR(ks_data_split_frames(d, "qpt/all", &idx, &n), KS_ERR_ARG);
    T_ERR(ks_data_split_frames(d, "other/test", &idx, &n), KS_ERR_DATA);
    T_CHECK(strstr(ks_error_message(), "there is: qpt"), "%s", ks_error_message());
    ks_split_destroy(&t);
    ks_data_close(&d);
    T_OK(ks_data_split_write(at("d.h5"), "second", s, 0));
    T_OK(ks_data_open(at("d.h5"), &d));
    T_ERR(ks_data_split_frames(d, "test", &idx, &n), KS_ERR_DATA);
    T_CHECK(strstr(ks_error_message(), "2 splits"), "%s", ks_error_message());
    ks_data_close(&d);
    /* A split that does not fit the file, and one that was tampered with. */
    ks_split_destroy(&s);
    T_OK(ks_split_make("random", 7, 9, more, &s));
    T_ERR(ks_data_split_write(at("d.h5"), "big", s, 0), KS_ERR_DATA);
    ks_split_destroy(&s);
    T_OK(ks_h5_edit(at("d.h5"), &h5));
    T_OK(ks_h5_remove(h5, "splits/second/valid"));
    T_OK(ks_h5_write(h5, "splits/second/valid", KS_H5_I64, 1, (int64_t[]){0}, NULL));
    T_OK(ks_h5_publish(&h5));
    T_OK(ks_data_open(at("d.h5"), &d));
    T_ERR(ks_data_split_read(d, "second", &t), KS_ERR_DATA);
    T_CHECK(strstr(ks_error_message(), "sha256"), "%s", ks_error_message());
    ks_data_close(&d);
    T_OK(ks_h5_edit(at("d.h5"), &h5));
    T_OK(ks_h5_remove(h5, "splits/second"));
    T_OK(ks_h5_publish(&h5));
}

static const ks_label_method method = {.xc           = "b3lyp5",
                                       .basis        = "def2-svp",
                                       .basis_sha256 = "abc",
                                       .grid_level   = 3,
                                       .n_libxc      = 2,
                                       .libxc_id     = {402, 7},
                                       .libxc_weight = {0.25, 0.75},
                                       .hybrid       = 0.2,
                                       .grid         = "level 3",
                                       .conv_energy  = 1e-9,
                                       .conv_grad    = 1e-5,
                                       .program      = "test"};

enum { N3 = 5, N2 = 3 };
static int64_t  ao_of(int64_t frame) { return frame % 3 == 1 ? N2 : N3; }
static double   F[N3 * N3], P[N3 * N3], eps[N3];
static ks_label make_label(int64_t frame) {
    const int64_t n = ao_of(frame);
    for (int64_t i = 0; i < n; i++) {
        eps[i] = (double)(frame * 10 + i);
        for (int64_t j = 0; j <= i; j++) {
            F[i * n + j] = F[j * n + i] = 1.0 / (double)(1 + frame + i + 3 * j);
            P[i * n + j] = P[j * n + i] = (double)(frame - i * j);
        }
    }
    return (ks_label){.n_ao      = n,
                      .converged = 1,
                      .cycles    = 8 + (int)frame,
                      .energy    = -76.5 - (double)frame,
                      .dipole    = {1, 2, (double)frame},
                      .F         = F,
                      .P         = P,
                      .eps       = eps};
}

/* The label of frame as stored equals make_label(frame). */
static int label_is_right(ks_data *d, int64_t frame) {
    double   f2[N3 * N3], p2[N3 * N3], e2[N3];
    ks_label l = {.n_ao = ao_of(frame), .F = f2, .P = p2, .eps = e2};
    if (ks_data_label_read(d, &method, frame, &l) != KS_OK) return 0;
    const ks_label w = make_label(frame);
    const size_t   n = (size_t)w.n_ao;
    return l.energy == w.energy && l.cycles == w.cycles && l.converged == 1 && !memcmp(l.dipole, w.dipole, 24) &&
           !memcmp(f2, F, n * n * 8) && !memcmp(p2, P, n * n * 8) && !memcmp(e2, eps, n * 8);
}

static ks_status put_label(ks_label_writer *w, int64_t frame) {
    const ks_label l = make_label(frame);
    return ks_label_writer_put(w, frame, &l);
}

static void labels(void) {
    ks_data         *d    = NULL;
    ks_label_writer *w    = NULL;
    ks_label_method *sets = NULL, other = method;
    int64_t         *todo = NULL, n = 0, n_ao[7];
    const int64_t    first[4] = {5, 1, 0, 5}, all[7] = {0, 1, 2, 3, 4, 5, 6};
    char            *text = NULL;
    for (int k = 0; k < 7; k++) n_ao[k] = ao_of(k);
    T_OK(ks_data_open(at("d.h5"), &d));
    T_OK(ks_data_labels_missing(d, &method, 7, all, &todo, &n));
    T_CHECK(n == 7, "%lld", (long long)n);
    KS_FREE(todo);
    ks_data_close(&d);
    T_ERR(ks_label_writer_open(at("d.h5"), &method, &w), KS_ERR_DATA);
    const int64_t first_ao[4] = {N3, N2, N3, N3};
    T_OK(ks_data_labels_reserve(at("d.h5"), &method, 4, first, first_ao));
    T_OK(ks_label_writer_open(at("d.h5"), &method, &w));
    T_OK(put_label(w, 5));
    T_OK(put_label(w, 1));
    ks_label bad = make_label(0);
    T_ERR(ks_label_writer_put(w, 3, &bad), KS_ERR_ARG); /* no room */
    T_ERR(ks_label_writer_put(w, 1, &bad), KS_ERR_ARG); /* other size */
    T_ERR(ks_label_writer_put(w, -1, &bad), KS_ERR_ARG);
    F[3] = NAN;
    T_ERR(ks_label_writer_put(w, 0, &bad), KS_ERR_NUMERIC);
    T_OK(ks_label_writer_close(&w));
    T_OK(ks_label_writer_close(&w));
    T_OK(ks_data_open(at("d.h5"), &d));
    T_CHECK(ks_data_has_label(d, &method, 5) && ks_data_has_label(d, &method, 1) && !ks_data_has_label(d, &method, 0) &&
                !ks_data_has_label(d, &method, 3) && !ks_data_has_label(d, &method, 99) &&
                !ks_data_has_label(d, &method, -1),
            "has label");
    T_CHECK(label_is_right(d, 5) && label_is_right(d, 1), "values");
    ks_label l = {.n_ao = 0};
    T_OK(ks_data_label_read(d, &method, 5, &l)); /* scalars only */
    T_CHECK(l.n_ao == N3 && l.energy == -81.5, "%g", l.energy);
    T_ERR(ks_data_label_read(d, &method, 0, &l), KS_ERR_DATA);
    l = (ks_label){.n_ao = N2, .F = F};
    T_ERR(ks_data_label_read(d, &method, 5, &l), KS_ERR_DATA);
    other.grid_level = 2;
    T_CHECK(!ks_data_has_label(d, &other, 5), "another grid is another set");
    ks_data_close(&d);
    /* Resume: the rest gets room, done ones stay; other thresholds are refused; a second set beside. */
    T_OK(ks_data_labels_reserve(at("d.h5"), &method, 7, all, n_ao));
    other           = method;
    other.conv_grad = 1e-6;
    T_ERR(ks_data_labels_reserve(at("d.h5"), &other, 7, all, n_ao), KS_ERR_ARG);
    other = method;
    snprintf(other.basis_sha256, sizeof other.basis_sha256, "abd");
    T_ERR(ks_data_labels_reserve(at("d.h5"), &other, 7, all, n_ao), KS_ERR_ARG);
    T_CHECK(strstr(ks_error_message(), "other numbers"), "%s", ks_error_message());
    n_ao[1] = N3;
    T_ERR(ks_data_labels_reserve(at("d.h5"), &method, 7, all, n_ao), KS_ERR_DATA);
    n_ao[1] = N2;
    other   = method;
    snprintf(other.basis, sizeof other.basis, "my/own basis");
    T_OK(ks_data_labels_reserve(at("d.h5"), &other, 1, all, n_ao));
    T_OK(ks_data_open(at("d.h5"), &d));
    T_OK(ks_data_labels_missing(d, &method, 7, all, &todo, &n));
    T_CHECK(n == 5 && todo[0] == 0 && todo[1] == 2 && todo[4] == 6, "%lld to do", (long long)n);
    ks_data_close(&d);
    T_OK(ks_label_writer_open(at("d.h5"), &method, &w));
    for (int64_t k = 0; k < n; k++) T_OK(put_label(w, todo[k]));
    T_OK(put_label(w, 5)); /* again: replaced */
    T_OK(ks_label_writer_close(&w));
    KS_FREE(todo);
    T_OK(ks_data_open(at("d.h5"), &d));
    for (int64_t k = 0; k < 7; k++) T_CHECK(label_is_right(d, k), "frame %lld", (long long)k);
    T_OK(ks_data_label_sets(d, &sets, &n));
    T_CHECK(n == 2 && memcmp(&sets[0], &method, sizeof method) == 0 && !strcmp(sets[1].basis, "my/own basis"),
            "%lld sets", (long long)n);
    KS_FREE(sets);
    T_OK(ks_data_describe(d, &text));
    T_CHECK(strstr(text, "b3lyp5/def2-svp, grid 3: 7 of 7") && strstr(text, "0 of 1") && strstr(text, "qpt"), "%s",
            text);
    KS_FREE(text);
    ks_data_close(&d);
}

/* A label whose bytes changed after it was done is refused: its own checksum. */
static void damaged_label(void) {
    ks_h5   *h5 = NULL;
    ks_data *d  = NULL;
    ks_label l  = {0};
    double   v  = -76.25;
    int64_t  row;
    T_OK(ks_h5_open_rows(at("d.h5"), &h5));
    T_OK(ks_h5_read_rows(h5, "labels/b3lyp5_def2-svp_g3/block_000000/frame", KS_H5_I64, 0, 1, 1, &row));
    T_OK(ks_h5_write_rows(h5, "labels/b3lyp5_def2-svp_g3/block_000000/E", KS_H5_F64, 0, 1, 1, &v));
    T_OK(ks_h5_publish(&h5));
    T_OK(ks_data_open(at("d.h5"), &d));
    T_ERR(ks_data_label_read(d, &method, row, &l), KS_ERR_DATA);
    T_CHECK(strstr(ks_error_message(), "checksum"), "%s", ks_error_message());
    ks_data_close(&d);
    ks_label_writer *w = NULL;
    T_OK(ks_label_writer_open(at("d.h5"), &method, &w));
    T_OK(put_label(w, row));
    T_OK(ks_label_writer_close(&w));
    T_OK(ks_data_open(at("d.h5"), &d));
    T_CHECK(label_is_right(d, row), "repaired");
    ks_data_close(&d);
}

/* Everything in the file, compared with f; counts differences. */
static ks_status read_all(const char *path, const ks_frames *f, int *wrong) {
    ks_status  st = KS_OK;
    ks_data   *d  = NULL;
    ks_frames *g  = NULL;
    ks_split  *s  = NULL;
    KS_TRY(ks_data_open(path, &d));
    KS_TRY(ks_data_frames(d, -1, NULL, &g));
    *wrong += !same_frames(f, g);
    KS_TRY(ks_data_split_read(d, "qpt", &s));
    for (int64_t k = 0; k < 7; k++) {
        double   f2[N3 * N3], p2[N3 * N3], e2[N3];
        ks_label l = {.n_ao = ao_of(k), .F = f2, .P = p2, .eps = e2};
        KS_TRY(ks_data_label_read(d, &method, k, &l));
        *wrong += !label_is_right(d, k);
    }
done:
    ks_split_destroy(&s);
    ks_frames_destroy(&g);
    ks_data_close(&d);
    return st;
}

static void damage_and_faults(void) {
    static char bytes[1 << 19];
    ks_frames  *f     = mixture(1);
    int         wrong = 0, accepted = 0, n = 0;
    FILE       *x = fopen(at("d.h5"), "rb");
    T_CHECK(x, "open");
    if (!x) return;
    const size_t size = fread(bytes, 1, sizeof bytes, x);
    fclose(x);
    T_OK(read_all(at("d.h5"), f, &wrong));
    T_CHECK(wrong == 0 && size > 20000 && size < sizeof bytes, "%d differences, %zu bytes", wrong, size);
    for (ks_status st = KS_ERR_NOMEM; st != KS_OK && n < 2000;) {
        ks_alloc_fail_after(++n);
        st = read_all(at("d.h5"), f, &wrong);
        ks_alloc_fail_after(0);
        T_CHECK(st == KS_OK || st == KS_ERR_NOMEM, "allocation %d: %s", n, ks_error_message());
    }
    T_CHECK(n > 30 && n < 2000, "%d allocations", n);
    n = 0;
    for (ks_status st = KS_ERR_NOMEM; st != KS_OK && n < 500;) {
        ks_alloc_fail_after(++n);
        st = ks_data_write(at("e.h5"), f, NULL);
        ks_alloc_fail_after(0);
        T_CHECK((st == KS_OK) == (access(at("e.h5"), F_OK) == 0), "allocation %d: %s", n, ks_status_text(st));
    }
    T_CHECK(n > 10 && n < 500, "%d allocations", n);
    remove(at("e.h5"));
    if (__lsan_disable) __lsan_disable();
    for (size_t cut = 0; cut < size; cut += cut < 4096 ? 97 : 1009) {
        x = fopen(at("c.h5"), "wb");
        if (!x) break;
        fwrite(bytes, 1, cut, x);
        fclose(x);
        accepted += read_all(at("c.h5"), f, &wrong) == KS_OK;
    }
    T_CHECK(accepted == 0, "%d cut files accepted", accepted);
    int silent = 0, refused = 0, total = 0;
    for (size_t k = 5; k < size; k += 211) {
        int w = 0;
        bytes[k] ^= 0x41;
        x = fopen(at("c.h5"), "wb");
        if (!x) break;
        fwrite(bytes, 1, size, x);
        fclose(x);
        bytes[k] ^= 0x41;
        if (read_all(at("c.h5"), f, &w) != KS_OK) refused++;
        else silent += w != 0;
        total++;
    }
    if (__lsan_enable) __lsan_enable();
    /* Everything that counts has a checksum: HDF5's in headers and arrays, the labels' own. */
    T_CHECK(total > 100 && refused > total / 4 && silent == 0, "%d changed files: %d refused, %d with other values",
            total, refused, silent);
    printf("changed files: %d of %d refused, %d gave other values\n", refused, total, silent);
    remove(at("c.h5"));
    ks_frames_destroy(&f);
}

/* A failed allocation while splits and labels are written leaves what was there. */
static void write_faults(void) {
    ks_frames      *f        = mixture(1);
    const int64_t   sizes[3] = {2, 2, -1}, all[2] = {3, 4}, n_ao[2] = {ao_of(3), ao_of(4)};
    int             n = 0, wrong = 0;
    ks_label_method other = method;
    other.grid_level      = 1;
    for (ks_status st = KS_ERR_NOMEM; st != KS_OK && n < 3000;) {
        ks_split        *s = NULL;
        ks_label_writer *w = NULL;
        ks_alloc_fail_after(++n);
        st = ks_split_make("numpy-legacy", (uint64_t)n, 7, sizes, &s);
        if (st == KS_OK) st = ks_data_split_write(at("d.h5"), "faulty", s, 1);
        if (st == KS_OK) st = ks_data_labels_reserve(at("d.h5"), &other, 2, all, n_ao);
        if (st == KS_OK) st = ks_label_writer_open(at("d.h5"), &other, &w);
        if (st == KS_OK) st = put_label(w, 3);
        const ks_status closed = ks_label_writer_close(&w);
        ks_alloc_fail_after(0);
        T_CHECK((st == KS_OK || st == KS_ERR_NOMEM) && closed == KS_OK, "allocation %d: %s", n, ks_error_message());
        T_OK(read_all(at("d.h5"), f, &wrong));
        ks_split_destroy(&s);
    }
    T_CHECK(n > 100 && n < 3000 && wrong == 0, "%d allocations, %d differences", n, wrong);
    ks_frames_destroy(&f);
}

int main(void) {
    snprintf(dir, sizeof dir, "/tmp/ksgrad_data_%d", (int)getpid());
    if (mkdir(dir, 0700) != 0 || H5set_free_list_limits(0, 0, 0, 0, 0, 0) < 0) return 1;
    hashes();
    splits();
    files();
    file_splits();
    labels();
    damaged_label();
    damage_and_faults();
    write_faults();
    remove(at("d.h5"));
    T_CHECK(rmdir(dir) == 0, "files left in %s", dir);
    return t_done("data", 300);
}
