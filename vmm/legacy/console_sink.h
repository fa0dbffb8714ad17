/*
 * Where the serial port's output goes: a descriptor that may be slow, full or stopped (a terminal
 * with Ctrl-S, a pipe nobody reads). A vCPU must never wait for it, so bytes that the descriptor
 * does not take at once go into a buffer, and a thread of the sink's own, started when first
 * needed, writes that out. When the buffer is full the port stops saying that it is ready; but a named
 * pipe that nobody reads loses what is beyond, until somebody does.
 *
 * console_sink_put() runs on vCPU threads, serialised by the serial port's lock; the rest is the
 * creator's.
 */
#pragma once

#include <pthread.h>

#include "base/error.h"
#include "base/log.h"

#define CONSOLE_SINK_SIZE 16384u

struct console_sink {
	int fd;	      /* the creator's; -1: output is discarded */
	bool direct;  /* the descriptor can be tried without waiting */
	bool is_fifo; /* a named pipe, open for reading too */

	pthread_mutex_t lock;
	pthread_cond_t changed; /* bytes were put, taken, or the end has come */
	pthread_t writer;
	bool has_writer, ending, broken;
	bool unread;		  /* a named pipe has taken nothing for a while */
	bool was_full;		  /* somebody was told that there is no room */
	unsigned int pause_ms;	  /* the writer's: its last wait for the descriptor */
	unsigned int paused_ms;	  /* the same: all in a row */
	struct log_limit limit;	  /* of what it says about that */
	_Atomic uint64_t dropped; /* bytes put while the buffer was full */
	_Atomic uint64_t writes;  /* to the descriptor */
	uint32_t head, tail;	  /* bytes written out, bytes put; free-running */
	uint8_t buffer[CONSOLE_SINK_SIZE];

	/* Called on the writer's thread after it made room in a full buffer. */
	void (*room)(void *opaque);
	void *opaque;
};

void console_sink_init(struct console_sink *sink, int fd, void (*room)(void *), void *opaque);

/*
 * Writes out what is left, at most for `patience_ms`, says how many bytes were lost, if any. False when
 * the writer is stuck in write() for good: then the sink is still its, and must not be freed.
 */
must_check bool console_sink_fini(struct console_sink *sink, unsigned int patience_ms);

/* Takes one byte; never waits. A byte that finds the buffer full is counted as dropped. */
void console_sink_put(struct console_sink *sink, uint8_t byte);

/* True while another burst of a UART's FIFO (16 bytes) fits. */
bool console_sink_has_room(struct console_sink *sink);

/* Output goes to another descriptor from now on; returns the one it went to. Before the guest runs. */
int console_sink_swap_fd(struct console_sink *sink, int fd);
