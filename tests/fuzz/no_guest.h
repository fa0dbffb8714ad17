/* The surroundings of a controller under which no guest ever runs. */
#pragma once

#include "api-socket/controller.h"

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

static const struct controller_host no_guest = { built, nothing, nothing, NULL };
