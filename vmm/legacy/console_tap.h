/*
 * A copy of the serial port's output for whoever is attached to it beside the console_sink: a ring that vCPU
 * threads fill and its owner's loop empties. While nobody is attached it costs a load a byte. A ring that is full
 * holds the port up (its transmitter is not empty), so the owner empties it at every turn, whoever of those that it
 * hands the bytes on to keeps up.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/error.h"

#define CONSOLE_TAP_SIZE 32768u

struct console_tap {
	atomic_bool open;
	int fd; /* the owner's eventfd: the ring is not empty any more */
	/* Owner's thread, no lock held: a ring that was full has room. NULL: nobody waits. */
	void (*room)(void *opaque);
	void *opaque;

	pthread_mutex_t lock;
	uint8_t *ring;	     /* NULL until it is first opened */
	uint32_t head, tail; /* bytes taken, bytes put; free-running */
	bool was_full;	     /* somebody was told that there is no room */
	uint64_t lost;	     /* bytes that found no room, since the last that were taken */
};

/* fd stays the owner's. */
void console_tap_init(struct console_tap *tap, int fd);
void console_tap_fini(struct console_tap *tap);

/* The owner's thread: from now on bytes are copied, or not any more. -ENOMEM. */
must_check int console_tap_open(struct console_tap *tap);
void console_tap_close(struct console_tap *tap);

/* The owner's thread: the oldest bytes, at most `max`; how many they are, and how many are lost, before or after them. */
size_t console_tap_take(struct console_tap *tap, uint8_t *to, size_t max, uint64_t *lost);

/* vCPU threads, serialised by the port's lock. A byte for which there is no room is lost. tap may be NULL. */
void console_tap_put(struct console_tap *tap, uint8_t byte);

/* The same threads: does another burst of a UART's FIFO fit? tap may be NULL. */
bool console_tap_has_room(struct console_tap *tap);
