/* eri_ps.cu -- two-electron integrals with ps kets and L up to 4: (ps|ps), (pp|ps), (ds|ps), (dp|ps). See eri.cu. */
#include "eri_thread.cuh"

extern "C" ks_status ks_eri_ps_cuda(ks_cuda *cu, const ks_eri_device *d, const ks_eri_job *job) {
    ks_status st = KS_OK;
    KS_TRY((ks_eri_thread_launch<1, 1, 8, 3, 2>(cu, d, job)));
    KS_TRY((ks_eri_thread_launch<2, 1, 8, 3, 1>(cu, d, job)));
    KS_TRY((ks_eri_thread_launch<3, 1, 8, 3, 1>(cu, d, job)));
    KS_TRY((ks_eri_thread_launch<4, 1, 8, 3, 1>(cu, d, job)));
done:
    return st;
}
