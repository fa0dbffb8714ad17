/* The microVMs of a folder of sockets, jailed ones among them. One thread. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/error.h"

/* How far below the folder sockets are looked for: BASE/EXEC/ID/root/run/firecracker.socket is 5. */
#define FLEET_DEPTH_MAX 6u
#define FLEET_MAX 4096u

/* Paths of sockets, sorted. */
struct fleet {
	char **paths;
	unsigned int count;
};

/* Those named *.sock or *.socket below dir, which may be a socket itself. Symbolic links are not followed. -errno
 * and *err. */
must_check int fleet_find(struct fleet *fleet, const char *dir, struct error *err);
void fleet_free(struct fleet *fleet);

/*
 * What every one of them says of itself (vm.stats) with its path as "socket", in a list. All are asked before any
 * is waited for, and one that has not answered within a second is listed with the state "no answer"; one that
 * nobody serves as "dead"; one that speaks something else as "no API". NULL when out of memory.
 */
json_t *fleet_sample(const struct fleet *fleet);

/* Rows for people and programs: how busy each was between two samples. before may be NULL. */
json_t *fleet_rows(const json_t *before, const json_t *now, uint64_t between_ns);
