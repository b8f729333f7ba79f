/* sha256.c -- see sha256.h. */
#include "io/sha256.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* First 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t ror(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void compress(ks_sha256 *h) {
    uint32_t w[64], s[8];
    for (int t = 0; t < 16; t++)
        w[t] = (uint32_t)h->block[4 * t] << 24 | (uint32_t)h->block[4 * t + 1] << 16 |
               (uint32_t)h->block[4 * t + 2] << 8 | h->block[4 * t + 3];
    for (int t = 16; t < 64; t++) {
        const uint32_t a = w[t - 15], b = w[t - 2];
        w[t] = w[t - 16] + (ror(a, 7) ^ ror(a, 18) ^ a >> 3) + w[t - 7] + (ror(b, 17) ^ ror(b, 19) ^ b >> 10);
    }
    memcpy(s, h->state, sizeof s);
    for (int t = 0; t < 64; t++) {
        const uint32_t t1 =
            s[7] + (ror(s[4], 6) ^ ror(s[4], 11) ^ ror(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + K[t] + w[t];
        const uint32_t t2 =
            (ror(s[0], 2) ^ ror(s[0], 13) ^ ror(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (int k = 0; k < 8; k++) h->state[k] += s[k];
}

void ks_sha256_start(ks_sha256 *h) {
    static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(h->state, first, sizeof first);
    h->n_byte = 0;
}

void ks_sha256_add(ks_sha256 *h, const void *data, size_t n) {
    const uint8_t *p = data;
    for (size_t k = 0; k < n; k++) {
        h->block[h->n_byte++ % 64] = p[k];
        if (h->n_byte % 64 == 0) compress(h);
    }
}

void ks_sha256_i64(ks_sha256 *h, int64_t value) {
    uint8_t b[8];
    for (int k = 0; k < 8; k++) b[k] = (uint8_t)((uint64_t)value >> (8 * k));
    ks_sha256_add(h, b, 8);
}

void ks_sha256_end(ks_sha256 *h, char hex[65]) {
    const uint64_t bits = h->n_byte * 8;
    const uint8_t  one = 0x80, zero = 0;
    ks_sha256_add(h, &one, 1);
    while (h->n_byte % 64 != 56) ks_sha256_add(h, &zero, 1);
    for (int k = 7; k >= 0; k--) {
        const uint8_t b = (uint8_t)(bits >> (8 * k));
        ks_sha256_add(h, &b, 1);
    }
    for (int k = 0; k < 8; k++) snprintf(hex + 8 * k, 9, "%08x", h->state[k]);
}

ks_status ks_sha256_file(const char *path, char hex[65]) {
    ks_status     st = KS_OK;
    ks_sha256     h;
    unsigned char buf[65536];
    size_t        n;
    FILE         *f = fopen(path, "rb");
    KS_CHECK(f, KS_ERR_IO, "%s: %s", path, strerror(errno));
    ks_sha256_start(&h);
    while ((n = fread(buf, 1, sizeof buf, f)) > 0) ks_sha256_add(&h, buf, n);
    KS_CHECK(!ferror(f), KS_ERR_IO, "%s: read error", path);
    ks_sha256_end(&h, hex);
done:
    if (f) fclose(f);
    return st;
}
