#include "vmm/legacy/ioapic.h"

#include <string.h>

#include "vmm/bus.h"

#define IOREGSEL 0x00
#define IOWIN 0x10

#define REG_ID 0x00
#define REG_VERSION 0x01
#define REG_ARBITRATION 0x02
#define REG_TABLE 0x10

#define IOAPIC_VERSION 0x11 /* the 82093AA's: no EOI register */

#define ENTRY_VECTOR 0xffull
#define ENTRY_DELIVERY_MODE (7ull << 8)
#define ENTRY_DELIVERY_SMI (2ull << 8)
#define ENTRY_DEST_LOGICAL (1ull << 11)
#define ENTRY_DELIVERY_STATUS (1ull << 12)
#define ENTRY_REMOTE_IRR (1ull << 14)
#define ENTRY_MASKED (1ull << 16)
#define ENTRY_READ_ONLY (ENTRY_DELIVERY_STATUS | ENTRY_REMOTE_IRR)

/*
 * Entry to message, Intel SDM vol. 3 "Message Signalled Interrupts": the destination's low eight
 * bits at address bit 12; the next seven, which both KVM and Linux take from entry bits 49 to 55
 * (KVM_FEATURE_MSI_EXT_DEST_ID), at address bit 5. Always edge: every device here is, and a level
 * message would ask the kernel to report EOIs that nobody needs.
 */
static struct msi_message message_of(uint64_t entry)
{
	uint64_t dest = entry >> 56;
	uint64_t dest_high = (entry >> 49) & 0x7f;
	uint64_t logical = (entry & ENTRY_DEST_LOGICAL) ? 1 : 0;

	return (struct msi_message){
		.address = LAYOUT_LAPIC | dest << 12 | dest_high << 5 | logical << 2,
		.data = (uint32_t)(entry & (ENTRY_VECTOR | ENTRY_DELIVERY_MODE)),
	};
}

/*
 * A pin that is masked keeps the route it had: Linux masks an edge pin for a moment while it moves
 * an interrupt to another CPU, and an edge lost there would hang a device for good. The old vector
 * stays valid in the guest until the new one has fired once.
 */
static void update_entry(struct ioapic *ioapic, unsigned int pin, uint64_t value)
{
	uint64_t old = ioapic->entries[pin];
	struct msi_message msg = message_of(value);
	struct msi_message was = message_of(old);

	ioapic->entries[pin] = value;
	if (value & ENTRY_MASKED)
		return;
	if (!(old & ENTRY_MASKED) && was.address == msg.address && was.data == msg.data)
		return;
	ioapic->route(ioapic, pin, &msg);
}

static uint32_t register_read(const struct ioapic *ioapic)
{
	unsigned int index = ioapic->select - REG_TABLE;

	switch (ioapic->select) {
	case REG_ID:
	case REG_ARBITRATION:
		return (uint32_t)ioapic->id << 24;
	case REG_VERSION:
		return IOAPIC_VERSION | (LAYOUT_IOAPIC_PINS - 1) << 16;
	}
	if (ioapic->select < REG_TABLE || index / 2 >= LAYOUT_IOAPIC_PINS)
		return 0;
	return (uint32_t)(ioapic->entries[index / 2] >> (index % 2 * 32));
}

static void register_write(struct ioapic *ioapic, uint32_t value)
{
	unsigned int index = ioapic->select - REG_TABLE;
	unsigned int shift = index % 2 * 32;
	uint64_t entry;

	if (ioapic->select == REG_ID)
		ioapic->id = value >> 24 & 0xf;
	if (ioapic->select < REG_TABLE || index / 2 >= LAYOUT_IOAPIC_PINS)
		return;
	entry = ioapic->entries[index / 2];
	entry &= ~(0xffffffffull << shift);
	entry |= (uint64_t)value << shift;
	update_entry(ioapic, index / 2, entry & ~ENTRY_READ_ONLY);
}

/* The window shows the register that is selected: the page is true because each selection is a write, and comes to us.
 * Two vCPUs that select at once get each other's registers, as from the chip; Linux has a lock for it. */
void ioapic_refresh(struct ioapic *ioapic)
{
	uint32_t *select, *window;

	if (!ioapic->page)
		return;
	select = (void *)(ioapic->page + IOREGSEL);
	window = (void *)(ioapic->page + IOWIN);
	__atomic_store_n(select, ioapic->select, __ATOMIC_RELAXED);
	__atomic_store_n(window, register_read(ioapic), __ATOMIC_RELAXED);
}

void ioapic_show(struct ioapic *ioapic, void *page)
{
	pthread_mutex_lock(&ioapic->lock);
	ioapic->page = page;
	ioapic_refresh(ioapic);
	pthread_mutex_unlock(&ioapic->lock);
}

static void ioapic_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	struct ioapic *ioapic = dev;
	uint64_t value = 0;

	pthread_mutex_lock(&ioapic->lock);
	if (offset == IOREGSEL)
		value = ioapic->select;
	else if (offset == IOWIN)
		value = register_read(ioapic);
	pthread_mutex_unlock(&ioapic->lock);
	memcpy(data, &value, len);
}

static void ioapic_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	struct ioapic *ioapic = dev;
	uint32_t value = 0;

	memcpy(&value, data, MIN(len, 4u));
	pthread_mutex_lock(&ioapic->lock);
	if (offset == IOREGSEL)
		ioapic->select = (uint8_t)value;
	else if (offset == IOWIN)
		register_write(ioapic, value);
	ioapic_refresh(ioapic);
	pthread_mutex_unlock(&ioapic->lock);
}

const struct bus_ops ioapic_ops = { ioapic_read, ioapic_write };

/*
 * A pin without a line looks as firmware leaves one that is its own (SMI). Linux clears all others twice, at
 * its start and at its restart, by twelve accesses each, every one an exit: for 48 pins more than a thousand.
 */
void ioapic_init(struct ioapic *ioapic,
		 void (*route)(struct ioapic *, unsigned int, const struct msi_message *))
{
	*ioapic = (struct ioapic){ .route = route };
	pthread_mutex_init(&ioapic->lock, NULL);
	for (unsigned int pin = 0; pin < LAYOUT_IOAPIC_PINS; pin++)
		ioapic->entries[pin] = ENTRY_MASKED | ENTRY_DELIVERY_SMI;
}

void ioapic_connect(struct ioapic *ioapic, unsigned int pin)
{
	ioapic->entries[pin] = ENTRY_MASKED;
}
