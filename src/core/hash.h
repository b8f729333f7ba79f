/* hash.h -- FNV-1a, 64 bit, over bytes: tells different inputs apart, protects against nobody. Private. */
#ifndef KS_CORE_HASH_H
#define KS_CORE_HASH_H
#include <stddef.h>
#include <stdint.h>

#define KS_HASH_START 14695981039346656037u

static inline uint64_t ks_hash_bytes(uint64_t h, const void *data, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) h = (h ^ ((const unsigned char *)data)[i]) * 1099511628211u;
    return h;
}
#endif
