#include "vmm/legacy/console_tap.h"

#include <unistd.h>

#include "base/util.h"

#define UART_FIFO_SIZE 16u

void console_tap_init(struct console_tap *tap, int fd)
{
	*tap = (struct console_tap){ .fd = fd };
	pthread_mutex_init(&tap->lock, NULL);
}

void console_tap_fini(struct console_tap *tap)
{
	free(tap->ring);
	tap->ring = NULL;
	pthread_mutex_destroy(&tap->lock);
}

int console_tap_open(struct console_tap *tap)
{
	if (!tap->ring)
		tap->ring = malloc(CONSOLE_TAP_SIZE);
	if (!tap->ring)
		return -ENOMEM;
	atomic_store(&tap->open, true);
	return 0;
}

static void tell_room(struct console_tap *tap, bool was_full)
{
	if (was_full && tap->room)
		tap->room(tap->opaque);
}

/* What is in the ring is nobody's any more. */
void console_tap_close(struct console_tap *tap)
{
	bool was_full;

	atomic_store(&tap->open, false);
	pthread_mutex_lock(&tap->lock);
	tap->head = tap->tail;
	tap->lost = 0;
	was_full = tap->was_full;
	tap->was_full = false;
	pthread_mutex_unlock(&tap->lock);
	tell_room(tap, was_full);
}

size_t console_tap_take(struct console_tap *tap, uint8_t *to, size_t max, uint64_t *lost)
{
	bool was_full;
	size_t count;

	pthread_mutex_lock(&tap->lock);
	count = MIN((size_t)(tap->tail - tap->head), max);
	for (size_t i = 0; i < count; i++)
		to[i] = tap->ring[tap->head++ % CONSOLE_TAP_SIZE];
	*lost = tap->lost;
	tap->lost = 0;
	was_full = tap->was_full && count > 0;
	if (was_full)
		tap->was_full = false;
	pthread_mutex_unlock(&tap->lock);
	/* The port's lock comes before ours everywhere. */
	tell_room(tap, was_full);
	return count;
}

void console_tap_put(struct console_tap *tap, uint8_t byte)
{
	const uint64_t one = 1;
	bool is_first = false;

	if (!tap || !atomic_load_explicit(&tap->open, memory_order_relaxed))
		return;
	pthread_mutex_lock(&tap->lock);
	if (tap->tail - tap->head < CONSOLE_TAP_SIZE) {
		is_first = tap->tail == tap->head;
		tap->ring[tap->tail++ % CONSOLE_TAP_SIZE] = byte;
	} else {
		tap->lost++;
	}
	pthread_mutex_unlock(&tap->lock);
	if (is_first && write(tap->fd, &one, sizeof(one)) < 0)
		return; /* it counts already, which is as good */
}

bool console_tap_has_room(struct console_tap *tap)
{
	bool room;

	if (!tap || !atomic_load_explicit(&tap->open, memory_order_relaxed))
		return true;
	pthread_mutex_lock(&tap->lock);
	room = CONSOLE_TAP_SIZE - (tap->tail - tap->head) >= UART_FIFO_SIZE;
	tap->was_full |= !room;
	pthread_mutex_unlock(&tap->lock);
	return room;
}
