#include "vmm/irq_routes.h"

#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include "base/log.h"

static void raise_irqfd(struct irq_line *line)
{
	struct irqfd_line *irqfd = container_of(line, struct irqfd_line, line);
	const uint64_t one = 1;

	atomic_fetch_add_explicit(&irqfd->raised, 1, memory_order_relaxed);
	/* KVM would hand it to a kernel thread, only to find out the same. */
	if (!atomic_load_explicit(&irqfd->has_route, memory_order_acquire))
		return;
	/* Fails only when 2^64 - 1 signals are waiting; KVM consumes each as it comes. */
	if (write(irqfd->fd, &one, sizeof(one)) < 0)
		log_debug("an interrupt could not be signalled");
}

static struct kvm_irq_routing_entry *entry_of(struct irq_routes *routes, uint32_t gsi)
{
	struct kvm_irq_routing_entry *entry;

	for (uint32_t i = 0; i < routes->table.nr; i++)
		if (routes->table.entries[i].gsi == gsi)
			return &routes->table.entries[i];
	entry = &routes->table.entries[routes->table.nr++];
	entry->gsi = gsi;
	entry->type = KVM_IRQ_ROUTING_MSI;
	return entry;
}

static void route_pin(struct ioapic *ioapic, unsigned int pin, const struct msi_message *msg)
{
	struct irq_routes *routes = container_of(ioapic, struct irq_routes, ioapic);
	struct kvm_irq_routing_entry *entry = entry_of(routes, pin);
	static struct log_limit limit;

	entry->u.msi.address_lo = (uint32_t)msg->address;
	entry->u.msi.address_hi = (uint32_t)(msg->address >> 32);
	entry->u.msi.data = msg->data;
	atomic_fetch_add_explicit(&routes->updates, 1, memory_order_relaxed);
	if (ioctl(routes->kvm->vm, KVM_SET_GSI_ROUTING, &routes->table) < 0)
		log_limited(&limit, LOG_WARN, "ioapic: pin %u: the guest's route was refused: %s",
			    pin, strerrordesc_np(errno));
	atomic_store_explicit(&routes->lines[pin].has_route, true, memory_order_release);
}

void irq_routes_init(struct irq_routes *routes, struct kvm *kvm)
{
	routes->kvm = kvm;
	routes->table.nr = 0;
	ioapic_init(&routes->ioapic, route_pin);
	for (unsigned int i = 0; i < LAYOUT_IOAPIC_PINS; i++)
		routes->lines[i] = (struct irqfd_line){ .line.raise = raise_irqfd, .fd = -1 };
}

void irq_routes_fini(struct irq_routes *routes)
{
	for (unsigned int i = 0; i < LAYOUT_IOAPIC_PINS; i++)
		close_fd(&routes->lines[i].fd);
}

int irq_routes_line(struct irq_routes *routes, unsigned int gsi, struct irq_line **out,
		    struct error *err)
{
	struct irqfd_line *line = &routes->lines[gsi];
	int ret;

	line->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (line->fd < 0)
		return error_set_errno(err, errno, "cannot make an eventfd for interrupt %u", gsi);
	ret = kvm_irqfd(routes->kvm, line->fd, gsi);
	if (ret < 0)
		return error_set_errno(err, ret, "cannot bind interrupt %u (KVM_IRQFD)", gsi);
	ioapic_connect(&routes->ioapic, gsi);
	*out = &line->line;
	return 0;
}
