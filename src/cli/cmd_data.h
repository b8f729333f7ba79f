/* cmd_data.h -- the actions of `ksgrad data` that live in their own file. */
#ifndef KS_CMD_DATA_H
#define KS_CMD_DATA_H

int ks_cmd_data_label(int argc, char **argv);
int ks_cmd_data_verify(int argc, char **argv);

#endif
