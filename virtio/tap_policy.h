/* Which taps have a policy, as who started this process says: in a jail any other is worth a warning. */
#pragma once

#include <net/if.h>
#include <stdbool.h>

/*
 * Is the tap, by its name or, where that is NULL, by its descriptor, among `policies`: names between commas? NULL: nobody
 * has said, and it counts as if. *name is what to call it: printable, without quotes. Any thread.
 */
bool tap_has_policy(const char *policies, const char *tap, int fd, char name[IFNAMSIZ]);

/* The warning for the log, with the name. */
#define TAP_WITHOUT_POLICY \
	"net: the jailer set no policy for the tap %s: what the guest sends there is not checked"
