/* sha256.h -- SHA-256 (FIPS 180-4), for splits and source files. Private. */
#ifndef KS_IO_SHA256_H
#define KS_IO_SHA256_H
#include <stddef.h>
#include <stdint.h>
#include "ksgrad/status.h"

typedef struct ks_sha256 {
    uint32_t state[8];
    uint64_t n_byte;
    uint8_t  block[64];
} ks_sha256;

void                   ks_sha256_start(ks_sha256 *h);
void                   ks_sha256_add(ks_sha256 *h, const void *data, size_t n);
void                   ks_sha256_i64(ks_sha256 *h, int64_t value); /* as eight bytes, little-endian */
void                   ks_sha256_end(ks_sha256 *h, char hex[65]);
KS_NODISCARD ks_status ks_sha256_file(const char *path, char hex[65]);
#endif
