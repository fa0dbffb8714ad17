/*
 * `mayfly check-host`: what this host has and lacks for running microVMs, what each lack costs and
 * what to do about it. And the quick question behind it: can this host's KVM run a kernel?
 */
#pragma once

#include "base/error.h"

/* argv[0] is "check-host". The process's exit status: 0 when Linux guests can run here, 1 when they
 * cannot, 153 for a wrong option. */
int check_host_main(int argc, char **argv);

enum kvm_quality {
	KVM_QUALITY_NONE,     /* no guest at all */
	KVM_QUALITY_SOFTWARE, /* emulates guest ring 0: payloads of plain instructions, no kernel */
	KVM_QUALITY_HARDWARE, /* runs kernels */
};

/*
 * Finds out by running a guest of a few instructions, in about a millisecond. Fills *err (which may
 * be NULL) with the reason when the answer is not KVM_QUALITY_HARDWARE. Any thread; uses SIGALRM
 * and ITIMER_REAL meanwhile and puts both back.
 */
enum kvm_quality kvm_probe(struct error *err);
