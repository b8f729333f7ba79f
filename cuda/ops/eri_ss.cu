/* eri_ss.cu -- two-electron integrals with ss kets: (ss|ss) to (dd|ss). See eri.cu. */
#include "eri_thread.cuh"

extern "C" ks_status ks_eri_ss_cuda(ks_cuda *cu, const ks_eri_device *d, const ks_eri_job *job) {
    ks_status st = KS_OK;
    KS_TRY((ks_eri_thread_launch<0, 0, 8, 1, 3>(cu, d, job)));
    KS_TRY((ks_eri_thread_launch<1, 0, 8, 1, 3>(cu, d, job)));
    KS_TRY((ks_eri_thread_launch<2, 0, 8, 1, 2>(cu, d, job)));
    KS_TRY((ks_eri_thread_launch<3, 0, 8, 1, 2>(cu, d, job)));
    KS_TRY((ks_eri_thread_launch<4, 0, 8, 1, 2>(cu, d, job)));
    KS_TRY((ks_eri_thread_launch<5, 0, 8, 1, 1>(cu, d, job)));
done:
    return st;
}
