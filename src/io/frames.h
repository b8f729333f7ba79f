/* frames.h -- building ks_frames in the readers, and the readers themselves (private). */
#ifndef KS_IO_FRAMES_H
#define KS_IO_FRAMES_H
#include "ksgrad/geometry.h"

enum { KS_FRAME_MAX_ATOM = 4096 };
#define KS_ATOM_MIN_BOHR 1e-3 /* nuclei closer than this are a mistake in the file */

/* Zeroed arrays for n_frame frames of n_atom atoms in all; energies and forces only when wanted. */
KS_NODISCARD ks_status ks_frames_alloc(const char *source, int64_t n_frame, int64_t n_atom, int energies, int forces,
                                       ks_frames **out);
/* Finite coordinates, known elements, atoms not on top of each other; messages name file, frame and atom. */
KS_NODISCARD ks_status ks_frames_check(const ks_frames *frames);

KS_NODISCARD ks_status ks_frames_read_xyz(const char *path, ks_frames **out);
KS_NODISCARD ks_status ks_frames_read_npz(const char *path, ks_frames **out);
#endif
