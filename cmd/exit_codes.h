/*
 * Exit statuses of the programs. 0 to 157 are Firecracker's where it has one for the case, so that
 * scripts written for it need not change; `mayfly help run` prints the table for people.
 */
#pragma once

enum exit_code {
	EXIT_OK = 0,		    /* the guest powered off or restarted; Ctrl-A x */
	EXIT_GENERIC = 1,	    /* anything without a code of its own; KVM could not go on */
	EXIT_AGENT = 125,	    /* with --agent: anything but the command's own end */
	EXIT_BAD_SYSCALL = 148,	    /* SIGSYS */
	EXIT_LOST_MEMORY = 149,	    /* SIGBUS, or a file that guest memory was mapped from shrank */
	EXIT_SEGV = 150,	    /* SIGSEGV: a bug */
	EXIT_CPU_LIMIT = 154,	    /* SIGXCPU */
	EXIT_BAD_CONFIG = 152,	    /* `run`: what cannot work; else a --level */
	EXIT_BAD_ARGUMENTS = 153,   /* the command line itself */
	EXIT_HANGUP = 156,	    /* SIGHUP */
	EXIT_BAD_INSTRUCTION = 157, /* SIGILL */
	EXIT_TRIPLE_FAULT = 160,    /* ours: the guest's processor gave up */
	EXIT_SIGNAL_BASE = 128,	    /* plus the number of any other signal, as a shell says it */
};
