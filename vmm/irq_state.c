#include "vmm/irq_state.h"

#include <sys/ioctl.h>

static const struct state_field route_fields[] = {
	STATE_FIELD(struct irq_route_state, gsi, STATE_U32, 1),
	STATE_FIELD(struct irq_route_state, address, STATE_U64, 1),
	STATE_FIELD(struct irq_route_state, data, STATE_U32, 1),
};

static const struct state_desc route_desc = STATE_DESC("route", struct irq_route_state, 1,
						       route_fields);

static const struct state_field irq_fields[] = {
	STATE_FIELD(struct irq_state, id, STATE_U8, 1),
	STATE_FIELD(struct irq_state, select, STATE_U8, 1),
	STATE_ARRAY(struct irq_state, entries, STATE_U64, 1),
	STATE_TABLE(struct irq_state, routes, route_count, &route_desc, 1),
};

const struct state_desc irq_state_desc = STATE_DESC("ioapic", struct irq_state, 1, irq_fields);

void irq_save(struct irq_routes *routes, struct irq_state *state)
{
	struct ioapic *ioapic = &routes->ioapic;

	pthread_mutex_lock(&ioapic->lock);
	*state = (struct irq_state){ .id = ioapic->id, .select = ioapic->select };
	for (unsigned int i = 0; i < LAYOUT_IOAPIC_PINS; i++)
		state->entries[i] = ioapic->entries[i];
	state->route_count = routes->table.nr;
	for (uint32_t i = 0; i < routes->table.nr; i++) {
		const struct kvm_irq_routing_entry *entry = &routes->table.entries[i];

		state->routes[i] = (struct irq_route_state){
			.gsi = entry->gsi,
			.address = (uint64_t)entry->u.msi.address_hi << 32 |
				   entry->u.msi.address_lo,
			.data = entry->u.msi.data,
		};
	}
	pthread_mutex_unlock(&ioapic->lock);
}

static int fill_table(struct irq_table *table, const struct irq_state *state, struct error *err)
{
	uint64_t seen = 0;

	for (uint32_t i = 0; i < state->route_count; i++) {
		const struct irq_route_state *route = &state->routes[i];

		if (route->gsi >= LAYOUT_IOAPIC_PINS || seen >> route->gsi & 1)
			return error_set(err, EINVAL, "ioapic: route %u is for pin %u", i,
					 route->gsi);
		seen |= 1ull << route->gsi;
		table->entries[i] = (struct kvm_irq_routing_entry){
			.gsi = route->gsi,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi = { .address_lo = (uint32_t)route->address,
				   .address_hi = (uint32_t)(route->address >> 32),
				   .data = route->data },
		};
	}
	table->nr = state->route_count;
	return 0;
}

static bool is_same(const struct irq_table *a, const struct irq_table *b)
{
	bool same = a->nr == b->nr;

	for (uint32_t i = 0; i < a->nr && same; i++) {
		const struct kvm_irq_routing_entry *x = &a->entries[i], *y = &b->entries[i];

		same = x->gsi == y->gsi && x->u.msi.address_lo == y->u.msi.address_lo &&
		       x->u.msi.address_hi == y->u.msi.address_hi && x->u.msi.data == y->u.msi.data;
	}
	return same;
}

static bool has_route(const struct irq_table *table, unsigned int gsi)
{
	for (uint32_t i = 0; i < table->nr; i++)
		if (table->entries[i].gsi == gsi)
			return true;
	return false;
}

/* All routes in one call, and none where KVM has them already: each waits for a grace period, which can take
 * milliseconds. The table is what KVM has, whatever fails. */
static int set_table(struct irq_routes *routes, const struct irq_table *table, struct error *err)
{
	if (is_same(&routes->table, table))
		return 0;
	if (ioctl(routes->kvm->vm, KVM_SET_GSI_ROUTING, table) < 0)
		return error_set_errno(err, errno, "ioapic: KVM_SET_GSI_ROUTING");
	routes->table = *table;
	for (unsigned int i = 0; i < LAYOUT_IOAPIC_PINS; i++)
		atomic_store_explicit(&routes->lines[i].has_route, has_route(table, i),
				      memory_order_release);
	return 0;
}

int irq_load(struct irq_routes *routes, const struct irq_state *state, struct error *err)
{
	struct ioapic *ioapic = &routes->ioapic;
	struct irq_table table = { 0 };
	int ret = fill_table(&table, state, err);

	if (ret < 0)
		return ret;
	pthread_mutex_lock(&ioapic->lock);
	ioapic->id = state->id & 0xf;
	ioapic->select = state->select;
	for (unsigned int i = 0; i < LAYOUT_IOAPIC_PINS; i++)
		ioapic->entries[i] = state->entries[i];
	ioapic_refresh(ioapic);
	ret = set_table(routes, &table, err);
	pthread_mutex_unlock(&ioapic->lock);
	return ret;
}
