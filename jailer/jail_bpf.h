/* BPF of the jailer: pins, and the program on a tap. */
#pragma once

#include <netinet/in.h>

#include "base/error.h"

#define JAIL_BPF_DIR "/sys/fs/bpf/mayfly"

/* libbpf writes to standard error otherwise; what failed is told by an error. */
void jail_bpf_quiet(void);

/* Removes an id's folder of pins with what is in it; the path is JAIL_BPF_DIR/ID. 0 also when there is none. */
int jail_bpf_remove_pins(const char *path);

/* A record's "NAME NETNS": takes the id's clsact program, whose pin is there still, off the tap. 0 also when tap or
 * namespace are gone. */
int jail_bpf_detach_tap(const char *id, const char *text);

/* A rule of where frames may go, as `policy` and the maps know it: PREFIX[,tcp|udp/PORT[-PORT]]. */
struct jail_egress {
	bool is_ipv4;
	struct in6_addr address; /* an IPv4 one as ::ffff:a.b.c.d */
	unsigned int length;	 /* of 128 */
	uint8_t protocol;	 /* IPPROTO_TCP, IPPROTO_UDP; 0: all, whatever the port */
	uint16_t low, high;
	bool deny;
};

must_check int jail_parse_address(const char *option, const char *text, struct in6_addr *out,
				  struct error *err);
must_check int jail_parse_egress(const char *option, char *text, struct jail_egress *out,
				 struct error *err);

/* The pinned maps of an id's tap, live: descriptors, -1 while not open. */
struct jail_tap_maps {
	int config, sources, egress, drops;
};

must_check int jail_tap_maps_open(struct jail_tap_maps *maps, const char *id, const char *tap,
				  struct error *err);
void jail_tap_maps_close(struct jail_tap_maps *maps);

/* Each is one update that a frame sees whole or not at all. -errno and *err. */
must_check int jail_tap_set_config(const struct jail_tap_maps *maps, const uint8_t *mac,
				   bool check_sources, bool deny_otherwise, struct error *err);
must_check int jail_tap_set_otherwise(const struct jail_tap_maps *maps, bool deny,
				      struct error *err);
/* With the first address no other may be sent from. */
must_check int jail_tap_add_source(const struct jail_tap_maps *maps, const struct in6_addr *address,
				   struct error *err);
must_check int jail_tap_remove_source(const struct jail_tap_maps *maps,
				      const struct in6_addr *address, struct error *err);
must_check int jail_tap_add_egress(const struct jail_tap_maps *maps, const struct jail_egress *rule,
				   struct error *err);
must_check int jail_tap_remove_egress(const struct jail_tap_maps *maps,
				      const struct jail_egress *rule, struct error *err);

/* How many frames were dropped, by reason, a line each on standard output. */
must_check int jail_tap_print_drops(const struct jail_tap_maps *maps, struct error *err);
