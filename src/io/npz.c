/* npz.c -- see npz.h. */
#include "io/npz.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>
#include "core/text.h"
#include "ksgrad/context.h"

struct ks_npz {
    char  *path;
    zip_t *zip;
};

enum { MAX_HEADER = 1 << 16 };

typedef struct npy_header {
    char    kind; /* f i u b U S */
    int     size; /* bytes of an item */
    int     fortran, rank;
    int64_t shape[KS_NPZ_MAX_RANK], n_item;
} npy_header;

ks_status ks_npz_open(const char *path, ks_npz **out) {
    ks_status st   = KS_OK;
    ks_npz   *z    = NULL;
    int       code = 0;
    *out           = NULL;
    KS_TRY(KS_ZNEW(z, 1));
    KS_TRY(ks_host_strdup(path, &z->path));
    KS_CHECK(ks_file_exists(path), KS_ERR_IO, "%s: no such file", path);
    z->zip = zip_open(path, ZIP_RDONLY | ZIP_CHECKCONS, &code);
    if (!z->zip) {
        zip_error_t e;
        char        text[128];
        zip_error_init_with_code(&e, code);
        snprintf(text, sizeof text, "%s", zip_error_strerror(&e));
        zip_error_fini(&e);
        KS_CHECK(0, KS_ERR_DATA, "%s: not a whole zip archive: %s", path, text);
    }
    *out = z;
    z    = NULL;
done:
    ks_npz_close(&z);
    return st;
}

void ks_npz_close(ks_npz **npz) {
    if (!npz || !*npz) return;
    if ((*npz)->zip) zip_discard((*npz)->zip);
    KS_FREE((*npz)->path);
    KS_FREE(*npz);
}

static zip_int64_t locate(const ks_npz *npz, const char *name) {
    char member[128];
    if ((size_t)snprintf(member, sizeof member, "%s.npy", name) >= sizeof member) return -1;
    return zip_name_locate(npz->zip, member, 0);
}

int ks_npz_has(const ks_npz *npz, const char *name) { return locate(npz, name) >= 0; }

void ks_npz_names(const ks_npz *npz, char *buf, int64_t n) {
    const zip_int64_t k    = zip_get_num_entries(npz->zip, 0);
    size_t            used = 0;
    buf[0]                 = '\0';
    for (zip_int64_t i = 0; i < k; i++) {
        const char *name = zip_get_name(npz->zip, (zip_uint64_t)i, 0);
        if (!name) continue;
        const size_t len =
            strlen(name) > 4 && strcmp(name + strlen(name) - 4, ".npy") == 0 ? strlen(name) - 4 : strlen(name);
        if (used + len + 2 > (size_t)n) return;
        used += (size_t)snprintf(buf + used, (size_t)n - used, "%s%.*s", used ? " " : "", (int)len, name);
    }
}

/* The bytes of a member, decompressed, CRC checked. */
static ks_status read_member(ks_npz *npz, const char *name, unsigned char **bytes, int64_t *n) {
    ks_status         st  = KS_OK;
    unsigned char    *buf = NULL;
    zip_file_t       *f   = NULL;
    zip_stat_t        s;
    char              rest;
    const zip_int64_t at = locate(npz, name);
    KS_CHECK(at >= 0, KS_ERR_DATA, "%s: there is no array '%s'", npz->path, name);
    KS_CHECK(zip_stat_index(npz->zip, (zip_uint64_t)at, 0, &s) == 0 && (s.valid & ZIP_STAT_SIZE) &&
                 (s.valid & ZIP_STAT_COMP_SIZE),
             KS_ERR_DATA, "%s: array '%s': %s", npz->path, name, zip_strerror(npz->zip));
    /* Deflate cannot pack more than 1032:1; a larger claim is a damaged directory, not a reason to ask for memory. */
    KS_CHECK(s.size / 1100 <= s.comp_size && s.size < (1ull << 40), KS_ERR_DATA,
             "%s: array '%s' claims %llu bytes in %llu compressed ones", npz->path, name, (unsigned long long)s.size,
             (unsigned long long)s.comp_size);
    KS_TRY(KS_NEW(buf, (int64_t)s.size + 1));
    f = zip_fopen_index(npz->zip, (zip_uint64_t)at, 0);
    KS_CHECK(f, KS_ERR_DATA, "%s: array '%s': %s", npz->path, name, zip_strerror(npz->zip));
    for (zip_uint64_t got = 0; got < s.size;) {
        const zip_int64_t k = zip_fread(f, buf + got, s.size - got);
        KS_CHECK(k > 0, KS_ERR_DATA, "%s: array '%s': %llu of %llu bytes could be read: %s", npz->path, name,
                 (unsigned long long)got, (unsigned long long)s.size, k < 0 ? zip_file_strerror(f) : "end of data");
        got += (zip_uint64_t)k;
    }
    /* libzip compares the CRC when the end is read. */
    KS_CHECK(zip_fread(f, &rest, 1) == 0, KS_ERR_DATA, "%s: array '%s' is damaged: %s", npz->path, name,
             zip_file_strerror(f));
    *bytes = buf;
    *n     = (int64_t)s.size;
    buf    = NULL;
done:
    if (f) zip_fclose(f);
    KS_FREE(buf);
    return st;
}

/* The text after 'key': in the header's Python dictionary. */
static const char *dict_value(const char *dict, const char *key) {
    char quoted[32];
    snprintf(quoted, sizeof quoted, "'%s'", key);
    const char *p = strstr(dict, quoted);
    if (!p) return NULL;
    p += strlen(quoted);
    while (*p == ' ') p++;
    if (*p != ':') return NULL;
    p++;
    while (*p == ' ') p++;
    return p;
}

static int parse_dict(const char *dict, npy_header *h, char *order) {
    const char *descr = dict_value(dict, "descr"), *fortran = dict_value(dict, "fortran_order"),
               *shape = dict_value(dict, "shape");
    char *end         = NULL;
    if (!descr || !fortran || !shape || *descr != '\'' || !strchr("<>|=", descr[1]) || *shape != '(') return 0;
    *order  = descr[1];
    h->kind = descr[2];
    if (!isdigit((unsigned char)descr[3])) return 0;
    const long size = strtol(descr + 3, &end, 10);
    if (*end != '\'' || size < 0 || size > (1 << 20)) return 0;
    h->size = (int)size;
    if (strncmp(fortran, "True", 4) == 0) h->fortran = 1;
    else if (strncmp(fortran, "False", 5) == 0) h->fortran = 0;
    else return 0;
    h->rank = 0;
    for (const char *p = shape + 1;;) {
        while (*p == ' ' || *p == ',') p++;
        if (*p == ')') return 1;
        if (!isdigit((unsigned char)*p) || h->rank == KS_NPZ_MAX_RANK) return 0;
        const long long v = strtoll(p, &end, 10);
        if (end - p > 18) return 0;
        h->shape[h->rank++] = v;
        p                   = end;
    }
}

/* Reads the header; *data points to the items inside bytes. The size must be exactly what the header says. */
static ks_status parse_npy(const ks_npz *npz, const char *name, const unsigned char *bytes, int64_t n, npy_header *h,
                           const unsigned char **data) {
    ks_status st   = KS_OK;
    char     *dict = NULL;
    char      order;
    int64_t   len, need;
    KS_CHECK(n >= 12 && memcmp(bytes, "\x93NUMPY", 6) == 0, KS_ERR_DATA, "%s: array '%s' has no NumPy header",
             npz->path, name);
    KS_CHECK(bytes[6] >= 1 && bytes[6] <= 3, KS_ERR_UNSUPPORTED,
             "%s: array '%s': NumPy format version %d, known are 1 to 3", npz->path, name, bytes[6]);
    const int64_t at = bytes[6] == 1 ? 10 : 12;
    len              = bytes[6] == 1 ? bytes[8] | bytes[9] << 8
                                     : bytes[8] | bytes[9] << 8 | bytes[10] << 16 | (int64_t)bytes[11] << 24;
    KS_CHECK(len <= MAX_HEADER && at + len <= n, KS_ERR_DATA,
             "%s: array '%s': header of %lld bytes in a member of %lld", npz->path, name, (long long)len, (long long)n);
    KS_TRY(KS_NEW(dict, len + 1));
    memcpy(dict, bytes + at, (size_t)len);
    dict[len] = '\0';
    KS_CHECK(parse_dict(dict, h, &order), KS_ERR_DATA, "%s: array '%s': header not understood: %.100s", npz->path, name,
             dict);
    KS_CHECK(order != '>', KS_ERR_UNSUPPORTED, "%s: array '%s' is big-endian; save it with .astype('<f8')", npz->path,
             name);
    h->n_item = 1;
    for (int k = 0; k < h->rank; k++) KS_TRY(ks_mul_i64(h->n_item, h->shape[k], &h->n_item));
    KS_TRY(ks_mul_i64(h->n_item, h->kind == 'U' ? 4 * h->size : h->size, &need));
    KS_CHECK(need == n - at - len, KS_ERR_DATA, "%s: array '%s' has %lld bytes of data, its header says %lld",
             npz->path, name, (long long)(n - at - len), (long long)need);
    *data = bytes + at + len;
done:
    KS_FREE(dict);
    return st;
}

static double item_f64(const npy_header *h, const unsigned char *p) {
    if (h->kind == 'f' && h->size == 8) {
        double v;
        memcpy(&v, p, 8);
        return v;
    }
    float v;
    memcpy(&v, p, 4);
    return (double)v;
}

static int64_t item_i64(const npy_header *h, const unsigned char *p) {
    uint64_t v = 0;
    memcpy(&v, p, (size_t)h->size); /* little-endian */
    if (h->kind == 'i' && h->size < 8 && (v >> (8 * h->size - 1) & 1)) v |= ~0ull << (8 * h->size);
    return (int64_t)v;
}

/* Number of the item in the file that is item k in C order. */
static int64_t stored_place(const npy_header *h, int64_t k) {
    int64_t place = 0, stride = h->n_item;
    if (!h->fortran) return k;
    for (int d = h->rank - 1; d >= 0; d--) {
        stride /= h->shape[d];
        place += k % h->shape[d] * stride;
        k /= h->shape[d];
    }
    return place;
}

static ks_status read_numbers(ks_npz *npz, const char *name, int floats, int *rank, int64_t *shape, void **out) {
    ks_status            st    = KS_OK;
    unsigned char       *bytes = NULL;
    const unsigned char *data  = NULL;
    void                *buf   = NULL;
    int64_t              n     = 0;
    npy_header           h     = {0};
    KS_TRY(read_member(npz, name, &bytes, &n));
    KS_TRY(parse_npy(npz, name, bytes, n, &h, &data));
    const int is_int = (h.kind == 'i' || h.kind == 'u') &&
                       (h.size == 1 || h.size == 2 || h.size == 4 || (h.size == 8 && h.kind == 'i'));
    const int is_float = h.kind == 'f' && (h.size == 4 || h.size == 8);
    KS_CHECK(is_int || (floats && is_float), KS_ERR_DATA, "%s: array '%s' has NumPy type %c%d, expected %s", npz->path,
             name, h.kind, h.size, floats ? "f8, f4 or integers" : "integers (i1 to i8, u1 to u4)");
    KS_TRY(ks_host_alloc(h.n_item, 8, &buf));
    for (int64_t k = 0; k < h.n_item; k++) {
        const unsigned char *p = data + stored_place(&h, k) * h.size;
        if (floats) ((double *)buf)[k] = is_int ? (double)item_i64(&h, p) : item_f64(&h, p);
        else ((int64_t *)buf)[k] = item_i64(&h, p);
    }
    *rank = h.rank;
    for (int k = 0; k < h.rank; k++) shape[k] = h.shape[k];
    *out = buf;
    buf  = NULL;
done:
    KS_FREE(buf);
    KS_FREE(bytes);
    return st;
}

ks_status ks_npz_read_f64(ks_npz *npz, const char *name, int *rank, int64_t *shape, double **data) {
    *data = NULL;
    return read_numbers(npz, name, 1, rank, shape, (void **)data);
}

ks_status ks_npz_read_i64(ks_npz *npz, const char *name, int *rank, int64_t *shape, int64_t **data) {
    *data = NULL;
    return read_numbers(npz, name, 0, rank, shape, (void **)data);
}

ks_status ks_npz_read_text(ks_npz *npz, const char *name, char *buf, int64_t n_buf) {
    ks_status            st    = KS_OK;
    unsigned char       *bytes = NULL;
    const unsigned char *data  = NULL;
    int64_t              n = 0, used = 0;
    npy_header           h = {0};
    KS_TRY(read_member(npz, name, &bytes, &n));
    KS_TRY(parse_npy(npz, name, bytes, n, &h, &data));
    KS_CHECK((h.kind == 'U' || h.kind == 'S') && h.n_item == 1, KS_ERR_DATA, "%s: array '%s' is not one text",
             npz->path, name);
    const int width = h.kind == 'U' ? 4 : 1;
    for (int k = 0; k < h.size && used + 1 < n_buf; k++) {
        const unsigned char *c = data + k * width;
        if (c[0] == 0 || c[0] > 126 || (width == 4 && (c[1] || c[2] || c[3]))) break;
        buf[used++] = (char)c[0];
    }
    buf[used] = '\0';
done:
    KS_FREE(bytes);
    return st;
}
