#include "tests/unit/fake_driver.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/guest_dirty.h"

/* Memory at the beginning of a turn; NULL: no audit. The copies of a driver share it, so a process has one. */
static uint8_t *audited;

static void give_up(const char *what)
{
	fprintf(stderr, "fake driver: %s\n", what);
	abort();
}

static void count_interrupt(struct irq_line *line)
{
	atomic_fetch_add(&container_of(line, struct fake_driver, irq)->interrupts, 1);
}

static void init_memory(struct fake_driver *fake)
{
	struct error err = { 0 };

	*fake = (struct fake_driver){ .irq.raise = count_interrupt };
	if (guest_memory_add(&fake->mem, 0, FAKE_LOW_END, &err) < 0 ||
	    guest_memory_add(&fake->mem, FAKE_HIGH, FAKE_HIGH_END - FAKE_HIGH, &err) < 0)
		give_up(err.text);
	fake_place_rings(fake, 256);
}

void fake_init(struct fake_driver *fake, enum event_loop_kind kind)
{
	struct error err = { 0 };

	init_memory(fake);
	if (event_loop_create(&fake->loop, kind, "fake", &err) < 0)
		give_up(err.text);
}

void fake_init_started(struct fake_driver *fake, enum event_loop_kind kind)
{
	struct error err = { 0 };

	init_memory(fake);
	if (event_loop_start(&fake->loop, kind, "fake", &err) < 0 ||
	    event_loop_wait_started(fake->loop, &err) < 0)
		give_up(err.text);
}

void fake_fini(struct fake_driver *fake)
{
	virtio_device_destroy(fake->dev);
	event_loop_destroy(fake->loop);
	fake_end_audit(fake);
	guest_memory_fini(&fake->mem);
}

void *fake_ptr(struct fake_driver *fake, uint64_t gpa, uint64_t len)
{
	void *ptr = guest_ptr(&fake->mem, gpa, len);

	if (!ptr)
		give_up("the test wants memory that is not there");
	return ptr;
}

static void place(struct fake_driver *fake, const struct virtqueue_layout *layout)
{
	const uint16_t size = layout->size;

	fake->layout = *layout;
	fake->desc = fake_ptr(fake, layout->desc, 16ul * size);
	fake->avail = fake_ptr(fake, layout->avail, 6 + 2ul * size);
	fake->used = fake_ptr(fake, layout->used, 6 + 8ul * size);
	fake->next_desc = fake->last_used = 0;
}

void fake_place_rings(struct fake_driver *fake, uint16_t size)
{
	place(fake,
	      &(struct virtqueue_layout){
		      .desc = FAKE_DESC, .avail = FAKE_AVAIL, .used = FAKE_USED, .size = size });
	memset(fake->desc, 0, FAKE_DATA - FAKE_DESC);
}

void fake_place_rings_at(struct fake_driver *fake, uint64_t gpa, uint16_t size)
{
	const uint64_t avail = gpa + 16ul * size, used = align_up(avail + 6 + 2ul * size, 4);

	memset(fake_ptr(fake, gpa, used + 6 + 8ul * size - gpa), 0, used + 6 + 8ul * size - gpa);
	place(fake, &(struct virtqueue_layout){
			    .desc = gpa, .avail = avail, .used = used, .size = size });
}

/* Registers --------------------------------------------------------------------------------------*/

uint32_t fake_read(struct fake_driver *fake, uint64_t offset)
{
	uint32_t value;

	virtio_mmio_read(fake->dev, offset, &value, sizeof(value));
	return value;
}

void fake_write(struct fake_driver *fake, uint64_t offset, uint32_t value)
{
	virtio_mmio_write(fake->dev, offset, &value, sizeof(value));
}

/* What the device changes --------------------------------------------------------------------------*/

/* From a driver's first word on, before the device may have a buffer. Some drivers are two threads. */
static void begin_audit(struct fake_driver *fake)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct error err = { 0 };

	if (!getenv("MAYFLY_FAKE_AUDIT"))
		return;
	pthread_mutex_lock(&lock);
	if (!audited) {
		audited = malloc(guest_memory_size(&fake->mem));
		if (!audited || guest_dirty_start(&fake->mem, &err) < 0)
			give_up("no memory for an audit");
	}
	pthread_mutex_unlock(&lock);
}

void fake_end_audit(struct fake_driver *fake)
{
	if (!audited)
		return;
	free(audited);
	audited = NULL;
	guest_dirty_stop(&fake->mem);
}

static void copy_memory(struct fake_driver *fake)
{
	uint8_t *to = audited;

	for (unsigned int i = 0; i < fake->mem.count; i++) {
		memcpy(to, fake->mem.regions[i].host, fake->mem.regions[i].size);
		to += fake->mem.regions[i].size;
	}
}

static bool is_noted(const struct fake_driver *fake, uint64_t page)
{
	return atomic_load(&fake->mem.dirty[page / 64]) >> page % 64 & 1;
}

static void check_changes(struct fake_driver *fake)
{
	uint64_t page = 0;

	for (unsigned int i = 0; i < fake->mem.count; i++) {
		const struct guest_region *region = &fake->mem.regions[i];

		for (uint64_t at = 0; at < region->size; at += PAGE_SIZE, page++)
			if (memcmp(region->host + at, audited + page * PAGE_SIZE, PAGE_SIZE) &&
			    !is_noted(fake, page))
				give_up("the device changed a page and did not note it");
	}
}

/* All that is changed meanwhile the device changes. */
static void turn_loop(struct fake_driver *fake)
{
	if (audited)
		copy_memory(fake);
	event_loop_run_once(fake->loop, false);
	if (audited)
		check_changes(fake);
}

/* Negotiation --------------------------------------------------------------------------------------*/

static void add_status(struct fake_driver *fake, uint32_t bit)
{
	fake_write(fake, VIRTIO_MMIO_STATUS, fake_read(fake, VIRTIO_MMIO_STATUS) | bit);
}

bool fake_negotiate(struct fake_driver *fake, uint64_t features)
{
	begin_audit(fake);
	fake_write(fake, VIRTIO_MMIO_STATUS, 0);
	add_status(fake, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	add_status(fake, VIRTIO_CONFIG_S_DRIVER);
	for (uint32_t i = 0; i < 2; i++) {
		fake_write(fake, VIRTIO_MMIO_DRIVER_FEATURES_SEL, i);
		fake_write(fake, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> (32 * i)));
	}
	add_status(fake, VIRTIO_CONFIG_S_FEATURES_OK);
	return fake_read(fake, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK;
}

bool fake_setup_queue(struct fake_driver *fake)
{
	const struct virtqueue_layout *layout = &fake->layout;

	fake_write(fake, VIRTIO_MMIO_QUEUE_SEL, fake->queue);
	fake_write(fake, VIRTIO_MMIO_QUEUE_NUM, layout->size);
	fake_write(fake, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)layout->desc);
	fake_write(fake, VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(layout->desc >> 32));
	fake_write(fake, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)layout->avail);
	fake_write(fake, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, (uint32_t)(layout->avail >> 32));
	fake_write(fake, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)layout->used);
	fake_write(fake, VIRTIO_MMIO_QUEUE_USED_HIGH, (uint32_t)(layout->used >> 32));
	fake_write(fake, VIRTIO_MMIO_QUEUE_READY, 1);
	return fake_read(fake, VIRTIO_MMIO_QUEUE_READY) == 1;
}

void fake_drive(struct fake_driver *fake, uint64_t features, uint16_t size)
{
	fake_write(fake, VIRTIO_MMIO_STATUS, 0); /* or the device may be at the old rings still */
	fake_place_rings(fake, size);
	if (!fake_negotiate(fake, features | 1ull << VIRTIO_F_VERSION_1))
		give_up("the device refused the features");
	if (!fake_setup_queue(fake))
		give_up("the device refused the queue");
	add_status(fake, VIRTIO_CONFIG_S_DRIVER_OK);
}

/* Rings ------------------------------------------------------------------------------------------*/

void fake_desc(struct fake_driver *fake, uint16_t at, struct vring_desc desc)
{
	fake->desc[at] = desc;
}

void fake_offer(struct fake_driver *fake, uint16_t head)
{
	const uint16_t idx = fake->avail->idx;

	fake->avail->ring[idx & (fake->layout.size - 1)] = head;
	__atomic_store_n(&fake->avail->idx, (uint16_t)(idx + 1), __ATOMIC_SEQ_CST);
}

static struct vring_desc desc_of(const struct fake_buffer *buffer, bool last, uint16_t next)
{
	return (struct vring_desc){
		.addr = buffer->gpa,
		.len = buffer->len,
		.flags = (uint16_t)((buffer->write ? VRING_DESC_F_WRITE : 0) |
				    (last ? 0 : VRING_DESC_F_NEXT)),
		.next = last ? 0 : next,
	};
}

uint16_t fake_chain(struct fake_driver *fake, const struct fake_buffer *buffers, unsigned int n)
{
	const uint16_t mask = fake->layout.size - 1, head = fake->next_desc & mask;

	for (unsigned int i = 0; i < n; i++) {
		const uint16_t at = fake->next_desc++ & mask;

		fake_desc(fake, at, desc_of(&buffers[i], i + 1 == n, (at + 1) & mask));
	}
	fake_offer(fake, head);
	return head;
}

uint16_t fake_indirect(struct fake_driver *fake, uint64_t table, const struct fake_buffer *buffers,
		       unsigned int n)
{
	struct vring_desc *descs = fake_ptr(fake, table, n * sizeof(*descs));
	const uint16_t head = fake->next_desc++ & (fake->layout.size - 1);

	for (unsigned int i = 0; i < n; i++) {
		struct vring_desc desc = desc_of(&buffers[i], i + 1 == n, (uint16_t)(i + 1));

		memcpy(&descs[i], &desc, sizeof(desc)); /* the table may be unaligned */
	}
	fake_desc(fake, head,
		  (struct vring_desc){ .addr = table,
				       .len = n * (uint32_t)sizeof(*descs),
				       .flags = VRING_DESC_F_INDIRECT });
	fake_offer(fake, head);
	return head;
}

void fake_kick(struct fake_driver *fake)
{
	const uint64_t one = 1;

	if (write(virtio_device_notify_fd(fake->dev, fake->queue), &one, sizeof(one)) < 0)
		give_up("cannot notify");
}

bool fake_used(struct fake_driver *fake, struct vring_used_elem *elem)
{
	if (__atomic_load_n(&fake->used->idx, __ATOMIC_ACQUIRE) == fake->last_used)
		return false;
	*elem = fake->used->ring[fake->last_used++ & (fake->layout.size - 1)];
	return true;
}

bool fake_wait_used(struct fake_driver *fake, struct vring_used_elem *elem)
{
	const time_t end = time(NULL) + 10;

	while (!fake_used(fake, elem)) {
		if (time(NULL) > end)
			return false;
		turn_loop(fake);
	}
	return true;
}

void fake_settle(struct fake_driver *fake)
{
	for (int i = 0; i < 8; i++)
		turn_loop(fake);
}
