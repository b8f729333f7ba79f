/* test_result.c -- result files: written and read back, replaced only when they are result files, every mismatch
 * refused. */
#include <string.h>
#include <unistd.h>
#include "io/result.h"
#include "ks_test.h"

static char g_dir[] = "/tmp/ksgrad_result_XXXXXX", g_path[64], g_other[64];

static const ks_xc g_xc = {"b3lyp5", KS_XC_GGA, 0.2, 2, {{106, "gga_x_b88", 0.72, ""}, {131, "gga_c_lyp", 0.81, ""}}};
static const ks_method g_method = {&g_xc, 1, KS_GUESS_MINAO, 1};
enum { N = 96 }; /* large enough (72 KiB) for the matrices to carry checksums */
static const int32_t g_Z[2]   = {1, 1};
static const double  g_pos[6] = {0, 0, 0, 0, 0, 1.4};
static double        g_eps[N], g_F[N * N], g_P[N * N], g_S[N * N], g_C[N * N], g_m[(N + 1) * (N + 1)];

static ks_result_head head(void) {
    return (ks_result_head){"scf", "h2.xyz", NULL, &g_method, "sto-3g", "minao", NULL, 1e-9, 1e-5};
}
static ks_result_frame frame(int64_t index) {
    return (ks_result_frame){index, 2, N, g_Z, g_pos, 0, 2, 1, 7, -1.1, {0, 0, 0.1}, g_eps, g_F, g_P, g_S, g_C};
}

static int file_count(void) {
    char cmd[128];
    int  n = -1;
    snprintf(cmd, sizeof cmd, "ls -A %s | wc -l", g_dir);
    FILE *p = popen(cmd, "r");
    if (p && fscanf(p, "%d", &n) != 1) n = -1;
    if (p) pclose(p);
    return n;
}

static void test_round_trip(void) {
    ks_result            *r = NULL;
    const ks_result_head  h = head();
    const ks_result_frame a = frame(3), b = frame(123456);
    int                   which = -1;
    T_OK(ks_result_create(g_path, &h, &r));
    T_OK(ks_result_add(r, &a));
    T_OK(ks_result_add(r, &b));
    T_ERR(ks_result_add(r, &a), KS_ERR_ARG); /* the same frame twice */
    T_CHECK(access(g_path, F_OK) != 0, "visible before it is complete");
    T_OK(ks_result_commit(&r));
    T_CHECK(!r && file_count() == 1, "%d files", file_count());
    T_OK(ks_result_open(g_path, &r));
    T_OK(ks_result_matrix(r, 123456, 2, g_Z, g_pos, N, "F,P", g_m, &which));
    T_CHECK(which == 0 && !memcmp(g_m, g_F, sizeof g_F), "F");
    T_OK(ks_result_matrix(r, 3, 2, g_Z, g_pos, N, "H,P", g_m, &which));
    T_CHECK(which == 1 && !memcmp(g_m, g_P, sizeof g_P), "P");
    /* what does not fit */
    const double  moved[6] = {0, 0, 0, 0, 0, 1.40001};
    const int32_t other[2] = {1, 2};
    T_ERR(ks_result_matrix(r, 4, 2, g_Z, g_pos, N, "F", g_m, NULL), KS_ERR_DATA);
    T_CHECK(strstr(ks_error_message(), g_path) && strstr(ks_error_message(), "no frame 4"), "%s", ks_error_message());
    T_ERR(ks_result_matrix(r, 3, 2, g_Z, moved, N, "F", g_m, NULL), KS_ERR_DATA);
    T_CHECK(strstr(ks_error_message(), "atom 1") != NULL, "%s", ks_error_message());
    T_ERR(ks_result_matrix(r, 3, 2, other, g_pos, N, "F", g_m, NULL), KS_ERR_DATA);
    T_CHECK(ks_result_matrix(r, 3, 2, g_Z, g_pos, N + 1, "F", g_m, NULL) != KS_OK, "another basis");
    T_ERR(ks_result_matrix(r, 3, 2, g_Z, g_pos, N, "H,Q", g_m, NULL), KS_ERR_DATA);
    T_ERR(ks_result_matrix(r, 3, 2, g_Z, g_pos, N, "C", g_m, NULL), KS_ERR_DATA); /* not symmetric */
    T_CHECK(ks_result_matrix(r, 3, 2, g_Z, g_pos, N, "eps", g_m, NULL) != KS_OK, "a vector read as a matrix");
    T_ERR(ks_result_add(r, &a), KS_ERR_ARG); /* open for reading */
    ks_result_close(&r);
}

static void test_replace(void) {
    ks_result           *r = NULL;
    const ks_result_head h = head();
    FILE                *f;
    char                 text[16] = "";
    T_OK(ks_result_create(g_path, &h, &r)); /* a result file may be replaced ... */
    ks_result_close(&r);                    /* ... but a failed run leaves the old one */
    T_OK(ks_result_open(g_path, &r));
    ks_result_close(&r);
    f = fopen(g_other, "w");
    fputs("precious", f);
    fclose(f);
    T_ERR(ks_result_create(g_other, &h, &r), KS_ERR_IO);
    f = fopen(g_other, "r");
    T_CHECK(f && fgets(text, sizeof text, f) && !strcmp(text, "precious"), "overwritten: %s", text);
    if (f) fclose(f);
    T_ERR(ks_result_open(g_other, &r), KS_ERR_HDF5);
    T_ERR(ks_result_open("/no/such/file.h5", &r), KS_ERR_IO);
    T_ERR(ks_result_create("/no/such/folder/r.h5", &h, &r), KS_ERR_IO);
    T_CHECK(strstr(ks_error_message(), "No such file or directory") != NULL, "%s", ks_error_message());
    T_ERR(ks_result_create("", &h, &r), KS_ERR_ARG);
    T_CHECK(file_count() == 2, "%d files", file_count());
}

/* A file cut at any length or with any byte of the matrix changed is refused, never read as something else. */
static void test_damage(void) {
    ks_result           *r = NULL;
    static unsigned char bytes[1 << 20];
    FILE                *f = fopen(g_path, "rb");
    const size_t         n = f ? fread(bytes, 1, sizeof bytes, f) : 0;
    if (f) fclose(f);
    T_CHECK(n > 1000 && n < sizeof bytes, "%zu bytes", n);
    for (int k = 1; k < 8; k++) {
        f = fopen(g_other, "wb");
        fwrite(bytes, 1, n * (size_t)k / 8, f);
        fclose(f);
        T_ERR(ks_result_open(g_other, &r), KS_ERR_HDF5);
    }
    size_t at = 0; /* the stored F of the first frame */
    while (at + 256 < n && memcmp(bytes + at, g_F, 256)) at++;
    T_CHECK(at + 256 < n, "F not found");
    bytes[at + 5] ^= 1;
    f = fopen(g_other, "wb");
    fwrite(bytes, 1, n, f);
    fclose(f);
    T_OK(ks_result_open(g_other, &r));
    int bad = 0;
    for (int k = 0; k < 2; k++) bad += ks_result_matrix(r, k ? 3 : 123456, 2, g_Z, g_pos, N, "F", g_m, NULL) != KS_OK;
    T_CHECK(bad == 1, "a flipped bit went unnoticed (%d)", bad);
    ks_result_close(&r);
}

int main(void) {
    if (!mkdtemp(g_dir)) return 1;
    for (int i = 0; i < N; i++) {
        g_eps[i] = i;
        for (int j = 0; j < N; j++) {
            g_F[i * N + j] = -1.0 / (1 + i + j);
            g_P[i * N + j] = i * j;
            g_S[i * N + j] = i == j;
            g_C[i * N + j] = i + 2 * j;
        }
    }
    snprintf(g_path, sizeof g_path, "%s/r.h5", g_dir);
    snprintf(g_other, sizeof g_other, "%s/other", g_dir);
    test_round_trip();
    test_replace();
    test_damage();
    unlink(g_path);
    unlink(g_other);
    rmdir(g_dir);
    return t_done("result", 40);
}
