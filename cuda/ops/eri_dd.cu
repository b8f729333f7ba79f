/* eri_dd.cu -- two-electron integrals with dd bras and L = 5 to 8: (dd|ps) to (dd|dd). See eri.cu. */
#include "eri_team.cuh"

extern "C" ks_status ks_eri_dd_cuda(ks_cuda *cu, const ks_eri_device *d, const ks_eri_job *job) {
    ks_status st = KS_OK;
    KS_TRY((ks_eri_team_launch<5, 1, 3, 3, 3>(cu, d, job)));
    KS_TRY((ks_eri_team_launch<5, 2, 3, 2, 1>(cu, d, job)));
    KS_TRY((ks_eri_team_launch<5, 3, 5, 2, 2>(cu, d, job)));
    KS_TRY((ks_eri_team_launch<5, 4, 5, 2, 1>(cu, d, job)));
    KS_TRY((ks_eri_team_launch<5, 5, 1, 1, 2>(cu, d, job)));
done:
    return st;
}
