/* Pieces that option parsers share. Every refusal is a sentence that quotes what was given. */
#pragma once

#include "vmm/vm_config.h"

/* Decimal, no sign, no rest; between min and max. name is the option's, for the sentence. */
must_check int parse_number(const char *name, const char *text, unsigned long min,
			    unsigned long max, unsigned long *out, struct error *err);

/* A size in bytes: a number of MiB, or a number with K, M, G or T (binary, "iB" may
 * follow) or B (bytes). */
must_check int parse_size(const char *name, const char *text, uint64_t *out, struct error *err);

/* A balloon: MIB[,KEY=VALUE]... (vm_config.h). `text` is changed. */
must_check int parse_balloon(const char *name, char *text, struct balloon_config *out,
			     struct error *err);

/* An agent: PATH[,wait=SECONDS] (cmd/run_options.h). `text` is changed. */
struct agent_config;
must_check int parse_agent(const char *name, char *text, struct agent_config *out,
			   struct error *err);

/* A vsock: PATH[,cid=N]; without cid it is the first one. `text` is changed. */
must_check int parse_vsock(const char *name, char *text, struct vsock_config *out,
			   struct error *err);
/* A pmem device: PATH|fd=N[:ro][,KEY=VALUE]... (vm_config.h). `text` is changed and stays in use. */
must_check int parse_pmem(const char *name, char *text, struct pmem_config *out, struct error *err);

/*
 * A drive: PATH|fd=N[:ro][,KEY=VALUE]... (vm_config.h says what the keys mean). `text` is changed:
 * the parts are ended in place and stay in use. A path that has a comma writes it twice.
 */
must_check int parse_drive(const char *name, char *text, struct drive_config *out,
			   struct error *err);

/* A network interface: tap=NAME|fd=N[,KEY=VALUE]... `text` is cut up as above. */
must_check int parse_net(const char *name, char *text, struct net_config *out, struct error *err);

/*
 * A limit: DEVICE,bytes=SIZE/MS[+BURST],ops=COUNT/MS[+BURST], one of the two or both (see struct
 * bucket_config). It goes to the device of `vm` that has this name, so all of those come first.
 */
must_check int parse_rate(const char *name, char *text, struct vm_config *vm, struct error *err);
