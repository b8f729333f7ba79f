/* test_nccl_library.c -- finding NCCL (cuda/nccl_library.c): which file, which version, and what is said when it cannot be
 * used. Arguments: files of nccl_fake.c: good, too old, without one function. A process for each: what is loaded stays. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "cuda/nccl_library.h"
#include "ks_test.h"

/* `file` as KS_NCCL: loaded or not, and every text is part of what is said of it. */
static void look(const char *file, int is_there, const char *a, const char *b) {
    int status = -1;
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        const ks_nccl *n = NULL;
        char           text[1024];
        ks_t_run = ks_t_bad = 0;
        (void)setenv("KS_NCCL", file, 1);
        ks_nccl_library_describe(text, sizeof text);
        printf("%s\n", text);
        T_CHECK(strstr(text, a) && strstr(text, b), "'%s' without '%s' or '%s'", text, a, b);
        T_CHECK((ks_nccl_load(&n) == KS_OK) == is_there, "loaded: %d", !is_there);
        if (is_there) T_CHECK(n && n->version == 23001 && !strcmp(n->path, file), "another library");
        else T_CHECK(ks_error_code() == KS_ERR_UNSUPPORTED && strstr(ks_error_message(), a), "%s", ks_error_message());
        T_CHECK(getenv("NCCL_NVLS_ENABLE") && !strcmp(getenv("NCCL_NVLS_ENABLE"), "0"), "sums in the switches are on");
        fflush(stdout);
        _exit(ks_t_bad != 0 || ks_t_run != 4);
    }
    if (child > 0) (void)waitpid(child, &status, 0);
    T_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: status %x", file, (unsigned)status);
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    look(argv[1], 1, "2.30.1, ", argv[1]);
    look(argv[2], 0, "NCCL 2.17.6", "too old: install NCCL 2.18");
    look(argv[3], 0, "no function ncclAllGather", "install NCCL 2.18");
    look("/nowhere/libnccl.so.2", 0, "NCCL is not there (/nowhere/libnccl.so.2: ", "LD_LIBRARY_PATH");
    return t_done("nccl_library", 4);
}
