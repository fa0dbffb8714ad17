/*
 * What happens to a microVM, for whoever wants to hear of it: a list of listeners in the controller.
 * Control thread.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

enum api_event {
	EVENT_STATE,		  /* {"state": "Running"} */
	EVENT_READY,		  /* init has told the boot timer */
	EVENT_TRACE,		  /* as vm.trace, just before the end */
	EVENT_ENDED,		  /* {"how": "powered-off", "text": ...} */
	EVENT_DEVICE_FAILED,	  /* {"device": "vda", "text": ...} */
	EVENT_BALLOON_STATISTICS, /* as GET /balloon/statistics */
	EVENT_SNAPSHOT_PROGRESS, /* {"step": "memory", "done_bytes": 1048576, "total_bytes": 8388608} */
	EVENT_COUNT,
};

/* As MessagePack-RPC's notifications are called; ends with NULL. */
extern const char *const event_names[EVENT_COUNT + 1];

/*
 * Those that are out of date when the next one comes, of something that keeps the loop from turning: they go out at once,
 * and whoever has not taken what came before misses them. 1 << enum api_event, or'ed.
 */
#define EVENTS_FLEETING (1u << EVENT_SNAPSHOT_PROGRESS)

/* One that listens: embedded in whatever it is. */
struct listener {
	/* detail is the caller's. Must not call for events of its own. */
	void (*heard)(struct listener *listener, enum api_event event, json_t *detail);
	/* The serial port's output, while attached (controller_console.h): a notification that stands for so many
	 * bytes. */
	void (*console)(struct listener *listener, const char *name, json_t *detail, size_t bytes);
	unsigned int kinds; /* 1 << enum api_event, or'ed: what it has subscribed to */
	bool attached;
	struct listener *next;
};

struct listeners {
	struct listener *first;
};

/* Until it is taken out again it outlives the list. */
void listeners_add(struct listeners *listeners, struct listener *listener);
void listeners_remove(struct listeners *listeners, struct listener *listener);

/* Tells every one of them, whatever it has subscribed to: that is its own to know. Takes detail over; it
 * may be NULL, for an object without members. */
void listeners_tell(struct listeners *listeners, enum api_event event, json_t *detail);
