/* BPF of the jailer: what more than one file needs. */
#pragma once

#include "base/util.h"

/* libbpf writes to standard error otherwise; what failed is told by an error. */
void jail_bpf_quiet(void);

/* Removes a folder of pins, with what is in it. 0 also when there is none. */
int jail_bpf_remove_pins(const char *path);
