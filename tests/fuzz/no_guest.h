/* The surroundings of a controller under which no guest ever runs. */
#pragma once

#include "api-socket/controller.h"
#include "vmm/timeline.h"

static int built(void *opaque, struct machine *machine, struct error *err)
{
	(void)opaque;
	(void)machine;
	return error_set(err, ENOTSUP, "no guest runs here");
}

static void nothing(void *opaque)
{
	(void)opaque;
}

static const struct controller_host no_guest_host = {
	built, nothing, nothing, nothing, NULL, NULL
};

/* What controller_create() is given, all but the loop. */
static inline struct controller_params no_guest_params(void)
{
	static struct timeline timeline;

	return (struct controller_params){
		.host = &no_guest_host, .timeline = &timeline, .id = "fuzz", .mmds_max = 4096
	};
}
