/* What the witness's BPF program and its loader both know. */
#pragma once

#include <linux/types.h>

#define WITNESS_CALLS 600 /* more than there are */
#define WITNESS_SEEN_MAX 16384
#define WITNESS_THREADS_MAX 16384
#define WITNESS_KINDS 3

/* Written by the loader before the program is attached. */
struct witness_config {
	__u16 lengths[WITNESS_KINDS];  /* of the filter that each kind of thread arms itself with */
	__u8 arguments[WITNESS_CALLS]; /* of a call: those that a rule looks at, a bit each */
};

/* A call that an armed thread made; arguments that no rule looks at are 0. */
struct witness_call {
	__u32 kinds; /* a bit each: a thread may have armed itself twice */
	__u32 number;
	__u64 arguments[6];
};
