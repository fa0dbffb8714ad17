#include "api-socket/events.h"

const char *const event_names[EVENT_COUNT + 1] = {
	"vm.state",	 "vm.ready",	       "vm.trace",	    "vm.ended",
	"device.failed", "balloon.statistics", "snapshot.progress", NULL,
};

void listeners_add(struct listeners *listeners, struct listener *listener)
{
	listener->next = listeners->first;
	listeners->first = listener;
}

void listeners_remove(struct listeners *listeners, struct listener *listener)
{
	for (struct listener **at = &listeners->first; *at; at = &(*at)->next)
		if (*at == listener) {
			*at = listener->next;
			return;
		}
}

void listeners_tell(struct listeners *listeners, enum api_event event, json_t *detail)
{
	if (!detail)
		detail = json_object();
	for (struct listener *at = listeners->first; at && detail; at = at->next)
		at->heard(at, event, detail);
	json_decref(detail);
}
