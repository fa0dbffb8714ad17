/*
 * The keys of a console that are not for the guest: Ctrl-A and one more. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct escape_keys {
	bool escape;		    /* the last key was Ctrl-A */
	const char *quit_help;	    /* what Ctrl-A x does, in a few words */
	void (*quit)(void *opaque); /* Ctrl-A x */
	void *opaque;
};

/* Takes the sequences out of what was typed and does what they say; returns how many bytes are left for the guest. */
size_t escape_keys_filter(struct escape_keys *keys, uint8_t *bytes, size_t count);

/* Puts what was typed behind the `len` bytes that wait for the guest, and returns how many wait now. What finds no place
 * is lost, with a bell, as a terminal does it with what is typed ahead. */
size_t escape_keys_keep(uint8_t *waiting, size_t len, size_t size, const uint8_t *bytes,
			size_t count);

/* Text for the person at the terminal, on standard error. */
void escape_keys_say(const char *text);
