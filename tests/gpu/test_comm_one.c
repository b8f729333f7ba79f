/* test_comm_one.c -- the transport between GPUs with one rank, which needs one GPU: its library is found, connects, and
 * every call runs and can be recorded. A sum of one rank changes nothing, so what this shows is that the calls are made
 * rightly, not that ranks meet: that is test_comm.c. */
#include "comm_case.h"

int main(int argc, char **argv) {
    line l = {.size = 1};
    char text[512];
    t_op_init(argc, argv);
    l.ctx = t_op_ctx(1);
    l.t   = l.ctx->backend->transport;
    if (!l.t) {
        printf("SKIP: this build has no NCCL\n");
        return 77;
    }
    l.t->describe(text, sizeof text);
    printf("%s: %s\n", l.t->name, text);
    if (l.t->open(NULL, l.ctx, &l.state) != KS_OK) {
        const int is_missing = ks_error_code() == KS_ERR_UNSUPPORTED;
        printf("%s: %s\n", is_missing ? "SKIP" : "FAIL", is_missing ? ks_error_message() : ks_error_trace());
        return is_missing ? 77 : 1;
    }
    T_OK(l.t->poll(l.state));
    check_collectives(&l, 1 << 20);
    check_min(&l);
    check_order(&l, 20);
    check_recording(&l, 20);
    T_OK(l.t->poll(l.state));
    T_OK(ks_sync(l.ctx));
    l.t->close(l.state, 0);
    T_OK(l.t->open(NULL, l.ctx, &l.state)); /* again, and left behind by a failure */
    l.t->abort(l.state);
    T_ERR(l.t->sum(l.state, KS_COMM_F32, 1, NULL), KS_ERR_COMM);
    ks_error_clear();
    l.t->close(l.state, 1);
    ks_ctx_destroy(&l.ctx);
    return t_done("comm_one", 200);
}
