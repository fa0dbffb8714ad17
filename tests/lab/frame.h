/* What passes between the lab's two ends, over one virtio-serial port. One ordered stream, so that the
 * status cannot overtake the output it follows. */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

enum frame_type {
	FRAME_READY = 1, /* guest: everything is mounted, waiting for FRAME_START */
	FRAME_START,	 /* host: struct frame_start */
	FRAME_IN,	 /* host: bytes for stdin; none mean its end */
	FRAME_TICK,	 /* host: nothing, once a second; its interrupt is what counts (relay.c) */
	FRAME_OUT,	 /* guest: bytes from stdout */
	FRAME_ERR,	 /* guest: bytes from stderr */
	FRAME_STATUS,	 /* guest: int32_t, as a shell reports it. The last frame */
	FRAME_FAILED,	 /* guest: why the command could not be started, text. The last frame */
};

#define FRAME_DATA_MAX 16384

struct frame {
	uint32_t type;
	uint32_t len;
	char data[FRAME_DATA_MAX];
};
#define FRAME_HEADER (2 * sizeof(uint32_t))

struct frame_start {
	int64_t sec, nsec; /* the time now */
	uint32_t has_stdin;
	uint32_t one_output; /* stdout and stderr are one file: keep their order */
};

static inline bool write_all(int fd, const void *data, size_t len)
{
	for (const char *p = data; len;) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static inline bool read_all(int fd, void *data, size_t len)
{
	for (char *p = data; len;) {
		ssize_t n = read(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static inline bool frame_send(int fd, struct frame *f)
{
	return write_all(fd, f, FRAME_HEADER + f->len);
}

static inline bool frame_receive(int fd, struct frame *f)
{
	return read_all(fd, f, FRAME_HEADER) && f->len <= sizeof(f->data) &&
	       read_all(fd, f->data, f->len);
}
