/* nodelist.c -- see nodelist.h. An item with brackets is a number in mixed radix: nothing is expanded. */
#include "comm/nodelist.h"
#include <stdio.h>
#include <string.h>

enum { MAX_HOSTS = 1000000, MAX_DIGITS = 9, MAX_BRACKETS = 8 };

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"
static const char *const g_plain = LETTERS DIGITS "._-";

/* Digits at *text; *text moves behind them. 0 when there are none or too many. */
static int read_digits(const char **text, int64_t *value) {
    const int n = (int)strspn(*text, DIGITS);
    *value      = 0;
    if (n == 0 || n > MAX_DIGITS) return 0;
    for (int i = 0; i < n; i++) *value = 10 * *value + (*(*text)++ - '0');
    return n;
}

/* A bracket: *text at its '[', then behind its ']'. With k >= 0 the k-th number goes to out with its zeros. */
static ks_status bracket(const char *list, const char **text, int64_t k, char *out, size_t size, int64_t *n) {
    ks_status   st    = KS_OK;
    const char *begin = *text, *p = begin + 1;
    int64_t     count = 0;
    for (;;) {
        int64_t   lo, hi;
        const int width = read_digits(&p, &lo);
        KS_CHECK(width, KS_ERR_DATA, "node list '%s': a number of at most %d digits is missing at '%.20s'", list,
                 MAX_DIGITS, p);
        hi = lo;
        if (*p == '-') {
            p++;
            KS_CHECK(read_digits(&p, &hi), KS_ERR_DATA,
                     "node list '%s': a number of at most %d digits is missing at '%.20s'", list, MAX_DIGITS, p);
        }
        KS_CHECK(lo <= hi, KS_ERR_DATA, "node list '%s': range %lld-%lld runs backwards", list, (long long)lo,
                 (long long)hi);
        if (k >= count && k <= count + hi - lo) snprintf(out, size, "%0*lld", width, (long long)(lo + k - count));
        count += hi - lo + 1;
        KS_CHECK(count <= MAX_HOSTS, KS_ERR_DATA, "node list '%s': more than %d hosts", list, MAX_HOSTS);
        if (*p != ',') break;
        p++;
    }
    KS_CHECK(*p == ']', KS_ERR_DATA, "node list '%s': ']' is missing at '%.20s'", list, p);
    *text = p + 1;
    *n    = count;
done:
    return st;
}

/* Hosts of the item at *text, which moves behind it; radix[i]: numbers of its i-th bracket. */
static ks_status measure(const char *list, const char **text, int64_t radix[MAX_BRACKETS], int *n_bracket, int64_t *n) {
    ks_status   st = KS_OK;
    const char *p  = *text;
    *n             = 1;
    *n_bracket     = 0;
    KS_CHECK(*p && *p != ',', KS_ERR_DATA, "node list '%s': a name is missing at '%.20s'", list, p);
    while (*p && *p != ',') {
        if (*p == '[') {
            KS_CHECK(*n_bracket < MAX_BRACKETS, KS_ERR_DATA, "node list '%s': more than %d brackets in a name", list,
                     MAX_BRACKETS);
            KS_TRY(bracket(list, &p, -1, NULL, 0, &radix[*n_bracket]));
            *n *= radix[(*n_bracket)++]; /* at most a million squared */
            KS_CHECK(*n <= MAX_HOSTS, KS_ERR_DATA, "node list '%s': more than %d hosts", list, MAX_HOSTS);
        } else {
            const size_t plain = strspn(p, g_plain);
            KS_CHECK(plain, KS_ERR_DATA, "node list '%s': '%c' cannot be part of a name", list, *p);
            p += plain;
        }
    }
    *text = p;
done:
    return st;
}

/* Host k of the item that begins at p. */
static ks_status write_host(const char *list, const char *p, const int64_t *radix, int n_bracket, int64_t k, char *host,
                            size_t size) {
    ks_status st = KS_OK;
    size_t    at = 0;
    int64_t   digit[MAX_BRACKETS], n;
    for (int i = n_bracket - 1; i >= 0; k /= radix[i--]) digit[i] = k % radix[i];
    for (int i = 0; *p && *p != ',';) {
        char         number[MAX_DIGITS + 2];
        const char  *piece = p;
        size_t       length;
        const size_t room = size - at;
        if (*p == '[') {
            KS_TRY(bracket(list, &p, digit[i++], number, sizeof number, &n));
            piece  = number;
            length = strlen(number);
        } else {
            length = strspn(p, g_plain);
            p += length;
        }
        KS_CHECK(length < room, KS_ERR_DATA, "node list '%s': a name is longer than %zu characters", list, size - 1);
        memcpy(host + at, piece, length);
        host[at += length] = '\0';
    }
done:
    return st;
}

ks_status ks_nodelist_host(const char *list, int64_t k, char *host, size_t size, int64_t *n) {
    ks_status   st    = KS_OK;
    const char *p     = list;
    int64_t     count = 0, radix[MAX_BRACKETS], of_item;
    int         n_bracket, found = 0;
    for (;;) {
        const char *item = p;
        KS_TRY(measure(list, &p, radix, &n_bracket, &of_item));
        if (host && k >= count && k < count + of_item) {
            KS_TRY(write_host(list, item, radix, n_bracket, k - count, host, size));
            found = 1;
        }
        count += of_item;
        KS_CHECK(count <= MAX_HOSTS, KS_ERR_DATA, "node list '%s': more than %d hosts", list, MAX_HOSTS);
        if (*p == '\0') break;
        p++;
    }
    KS_CHECK(!host || found, KS_ERR_DATA, "node list '%s': %lld hosts, none of number %lld", list, (long long)count,
             (long long)k);
    if (n) *n = count;
done:
    return st;
}

ks_status ks_nodelist_tasks(const char *list, int64_t k, int64_t *tasks, int64_t *total) {
    ks_status   st   = KS_OK;
    const char *p    = list;
    int64_t     node = 0, sum = 0;
    if (tasks) *tasks = -1;
    for (;;) {
        int64_t each, times = 1;
        KS_CHECK(read_digits(&p, &each), KS_ERR_DATA, "tasks per node '%s': a number is missing at '%.20s'", list, p);
        if (*p == '(') {
            p += 1 + (p[1] == 'x');
            KS_CHECK(p[-1] == 'x' && read_digits(&p, &times) && times > 0 && *p == ')', KS_ERR_DATA,
                     "tasks per node '%s': '(xN)' is expected before '%.20s'", list, p);
            p++;
        }
        KS_CHECK(times <= MAX_HOSTS && node + times <= MAX_HOSTS, KS_ERR_DATA,
                 "tasks per node '%s': more than %d nodes", list, MAX_HOSTS);
        if (tasks && k >= node && k < node + times) *tasks = each;
        node += times;
        sum += each * times; /* below 1e15 a node list */
        if (*p == '\0') break;
        KS_CHECK(*p == ',', KS_ERR_DATA, "tasks per node '%s': ',' is expected at '%.20s'", list, p);
        p++;
    }
    if (total) *total = sum;
done:
    return st;
}
