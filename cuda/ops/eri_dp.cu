/* eri_dp.cu -- two-electron integrals with dp bras and L = 5, 6: (dp|pp), (dp|ds), (dp|dp). See eri.cu. */
#include "eri_team.cuh"

extern "C" ks_status ks_eri_dp_cuda(ks_cuda *cu, const ks_eri_device *d, const ks_eri_job *job) {
    ks_status st = KS_OK;
    KS_TRY((ks_eri_team_launch<4, 2, 3, 3, 2>(cu, d, job)));
    KS_TRY((ks_eri_team_launch<4, 3, 5, 3, 3>(cu, d, job)));
    KS_TRY((ks_eri_team_launch<4, 4, 5, 3, 1>(cu, d, job)));
done:
    return st;
}
