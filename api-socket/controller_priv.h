/* Private to api-socket/: the controller's inside, and what its methods share. */
#pragma once

#include "api-socket/controller.h"
#include "api-socket/requests.h"

struct controller {
	struct event_loop *loop;
	const struct controller_host *host;
	struct timeline *timeline;
	const char *id;

	enum api_phase phase;
	struct machine *machine;

	/* What was asked for, as it was asked. */
	struct machine_request machine_config;
	struct kept boot;
	struct kept drives[VM_DRIVES_MAX]; /* struct drive_request; the root device is the first */
	unsigned int drive_count;
	struct kept nets[VM_NETS_MAX]; /* struct net_request */
	unsigned int net_count;

	struct vm_config vm; /* made of it at the start; the machine's while there is one */
};

/* api-socket/compose.c: controller->vm from what was asked for. Strings stay the requests'. */
void controller_compose(struct controller *controller);

/* api-socket/controller.c: builds the machine and lets it run; on failure it is as if never asked. */
must_check int controller_start(struct controller *controller, struct error *err);

/* Among `count` kept requests the one whose field (a string) is `id`: its index, or count. */
unsigned int kept_find(const struct kept *kept, unsigned int count, const char *id);
