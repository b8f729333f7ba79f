/* eri_pp.cu -- two-electron integrals with pp and ds kets and L = 4: (pp|pp), (ds|pp), (ds|ds). See eri.cu. */
#include "eri_thread.cuh"

extern "C" ks_status ks_eri_pp_cuda(ks_cuda *cu, const ks_eri_device *d, const ks_eri_job *job) {
    ks_status st = KS_OK;
    KS_TRY((ks_eri_thread_launch<2, 2, 8, 1, 1>(cu, d, job)));
    KS_TRY((ks_eri_thread_launch<3, 2, 8, 1, 1>(cu, d, job)));
    KS_TRY((ks_eri_thread_launch<3, 3, 8, 5, 1>(cu, d, job)));
done:
    return st;
}
