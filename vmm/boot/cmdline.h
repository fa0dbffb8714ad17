/*
 * The kernel command line: words separated by white space, double quotes around white space, and
 * after a word `--` the arguments of init (lib/cmdline.c next_arg() and init/main.c in Linux).
 */
#pragma once

#include "base/error.h"
#include "vmm/boot/device.h"
#include "vmm/layout.h"

/*
 * What a guest gets that is given no text of its own:
 *   quiet                no log on the serial port, which costs an exit a byte
 *   reboot=k             restart by the keyboard controller, which ends the monitor, at once
 *   panic=-1             a panic restarts at once: its guest does not linger
 *   8250.nr_uarts=1      do not probe for the three serial ports that are not there
 *   i8042.noaux, .nomux  do not probe for mice: the probes wait for time-outs
 *   i8042.dumbkbd        send the keyboard, which has no LEDs, no commands
 */
#define CMDLINE_DEFAULT \
	"quiet reboot=k panic=-1 8250.nr_uarts=1 i8042.noaux i8042.nomux i8042.dumbkbd"

/* init gets at most this many; one more and the kernel panics (init/main.c, MAX_INIT_ARGS). Words
 * before `--` that the kernel does not know are init's too and are not counted here. */
#define CMDLINE_INIT_ARGS_MAX 32u

struct cmdline_config {
	const char *text; /* the user's, or CMDLINE_DEFAULT */
	bool console; /* there is a serial console: console=ttyS0 unless text names a console= */
	/* "/dev/vda": root=/dev/vda ro|rw unless text names a root=; NULL: none */
	const char *root;
	bool root_read_only;
	bool root_wins;		   /* root= is added, and so counts, whatever text names */
	const char *root_partuuid; /* of a partition that is the root instead; NULL: none */
	/* Announced by virtio_mmio.device= when text says acpi=off; else ACPI does it. */
	const struct boot_device *devices;
	unsigned int device_count;
	const char *const *init_args; /* passed to init exactly, white space and all */
	unsigned int init_arg_count;
};

/*
 * Writes the whole command line, terminated. -EINVAL with a sentence for what a command line cannot
 * carry, -E2BIG when it gets too long.
 */
must_check int cmdline_build(char out[static LAYOUT_CMDLINE_MAX],
			     const struct cmdline_config *config, struct error *err);

/* Whether the kernel would see this word ("acpi=off", "ro") before any `--`. */
bool cmdline_has_word(const char *text, const char *word);

/* Whether the kernel would see NAME=anything (for "console": console=...) before any `--`. */
bool cmdline_has_param(const char *text, const char *name);
