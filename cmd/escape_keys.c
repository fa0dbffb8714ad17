#include "cmd/escape_keys.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"

#define KEY_ESCAPE 0x01 /* Ctrl-A */

void escape_keys_say(const char *text)
{
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		return;
}

static void show_keys(const struct escape_keys *keys)
{
	char text[200];

	snprintf(text, sizeof(text),
		 "\n  Ctrl-A x       %s\n"
		 "  Ctrl-A h       this help\n"
		 "  Ctrl-A Ctrl-A  send Ctrl-A to the guest\n",
		 keys->quit_help);
	escape_keys_say(text);
}

/* The key after Ctrl-A. Returns true when the byte itself is for the guest. */
static bool escape_key(struct escape_keys *keys, uint8_t key)
{
	switch (key) {
	case 'x':
		keys->quit(keys->opaque);
		return false;
	case 'h':
	case '?':
		show_keys(keys);
		return false;
	default:
		return key == KEY_ESCAPE;
	}
}

size_t escape_keys_filter(struct escape_keys *keys, uint8_t *bytes, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		bool for_guest = true;

		if (keys->escape) {
			keys->escape = false;
			for_guest = escape_key(keys, bytes[i]);
		} else if (bytes[i] == KEY_ESCAPE) {
			keys->escape = true;
			for_guest = false;
		}
		if (for_guest)
			bytes[kept++] = bytes[i];
	}
	return kept;
}

size_t escape_keys_keep(uint8_t *waiting, size_t len, size_t size, const uint8_t *bytes,
			size_t count)
{
	const size_t room = size - len;

	if (count > room)
		escape_keys_say("\a");
	memcpy(waiting + len, bytes, MIN(count, room));
	return len + MIN(count, room);
}
