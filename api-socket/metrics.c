/* Everything that a microVM counts, in one walk. */
#include "api-socket/metrics.h"

#include <linux/virtio_ids.h>
#include <stdio.h>
#include <string.h>

#include "api-socket/controller_priv.h"
#include "base/log.h"
#include "virtio/virtio_device.h"
#include "vmm/mmds/mmds.h"

struct walk {
	struct controller *controller;
	void (*visit)(void *opaque, const struct metric *metric);
	void *opaque;
};

static void tell(struct walk *walk, const char *family, const char *instance, const char *name,
		 uint64_t value)
{
	walk->visit(walk->opaque, &(struct metric){ family, instance, name, value, false });
}

static void tell_level(struct walk *walk, const char *family, const char *name, uint64_t value)
{
	walk->visit(walk->opaque, &(struct metric){ family, NULL, name, value, true });
}

/* Devices ---------------------------------------------------------------------------------------*/

static void walk_device(struct walk *walk, const char *family, const char *instance,
			struct virtio_device *dev)
{
	for (unsigned int i = 0; i < dev->ops->counter_count; i++)
		tell(walk, family, instance, dev->ops->counter_names[i],
		     atomic_load_explicit(&dev->counters[i], memory_order_relaxed));
	tell(walk, family, instance, "device_failed",
	     atomic_load_explicit(&dev->breaks, memory_order_relaxed));
}

/* Those of a kind with names of their own. */
static void walk_named(struct walk *walk, const char *family, uint32_t virtio_id,
		       const struct kept *kept, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct virtio_device *dev = machine_device(walk->controller->machine, virtio_id, i);

		if (dev)
			walk_device(walk, family, kept_name(&kept[i]), dev);
	}
}

static void walk_single(struct walk *walk, const char *family, uint32_t virtio_id)
{
	struct virtio_device *dev = machine_device(walk->controller->machine, virtio_id, 0);

	if (dev)
		walk_device(walk, family, NULL, dev);
}

static void walk_machine(struct walk *walk)
{
	static const char *const exits[VCPU_EXITS] = { "exit_io_in", "exit_io_out",
						       "exit_mmio_read", "exit_mmio_write" };
	struct controller *controller = walk->controller;
	struct machine_counts counts;

	machine_count(controller->machine, &counts);
	for (unsigned int i = 0; i < VCPU_EXITS; i++)
		tell(walk, "vcpu", NULL, exits[i], counts.vcpu_exits[i]);
	tell(walk, "uart", NULL, "write_count", counts.serial_written);
	tell(walk, "uart", NULL, "read_count", counts.serial_read);
	tell(walk, "uart", NULL, "rate_limiter_dropped_bytes", counts.serial_held_back);
	walk_named(walk, "block", VIRTIO_ID_BLOCK, controller->drives, controller->drive_count);
	walk_named(walk, "net", VIRTIO_ID_NET, controller->nets, controller->net_count);
	walk_named(walk, "pmem", VIRTIO_ID_PMEM, controller->pmems, controller->pmem_count);
	walk_single(walk, "vsock", VIRTIO_ID_VSOCK);
	walk_single(walk, "balloon", VIRTIO_ID_BALLOON);
	walk_single(walk, "entropy", VIRTIO_ID_RNG);
}

static void walk_mmds(struct walk *walk, const struct mmds_counters *counters)
{
#define MMDS(name) tell(walk, "mmds", NULL, #name, counters->name)
	MMDS(rx_accepted);
	MMDS(rx_accepted_err);
	MMDS(rx_accepted_unusual);
	MMDS(rx_bad_eth);
	MMDS(rx_invalid_token);
	MMDS(rx_no_token);
	MMDS(rx_count);
	MMDS(tx_bytes);
	MMDS(tx_count);
	MMDS(tx_errors);
	MMDS(tx_frames);
	MMDS(connections_created);
	MMDS(connections_destroyed);
#undef MMDS
}

/* Requests --------------------------------------------------------------------------------------*/

/* Methods that are counted as the same thing ("mmds": the data and the configuration) are added up at
 * the first of them. */
static void walk_calls(struct walk *walk, const struct method *method)
{
	static const char *const families[API_VERBS] = { "get_api_requests", "put_api_requests",
							 "patch_api_requests", NULL };
	struct call_counts sum = { 0 };
	char name[48];

	if (!method->metric || !families[method->verb] || method_counted_before(method))
		return;
	for (unsigned int i = 0; method_at(i); i++) {
		const struct method *other = method_at(i);

		if (other->metric && other->verb == method->verb &&
		    strcmp(other->metric, method->metric) == 0) {
			sum.count += walk->controller->calls[i].count;
			sum.fails += walk->controller->calls[i].fails;
		}
	}
	snprintf(name, sizeof(name), "%s_count", method->metric);
	tell(walk, families[method->verb], NULL, name, sum.count);
	if (method->verb == API_GET)
		return;
	snprintf(name, sizeof(name), "%s_fails", method->metric);
	tell(walk, families[method->verb], NULL, name, sum.fails);
}

static void walk_process(struct walk *walk)
{
	const struct controller *controller = walk->controller;

	tell_level(walk, "api_server", "process_startup_time_us", controller->startup_us);
	tell_level(walk, "api_server", "process_startup_time_cpu_us", controller->startup_cpu_us);
	tell(walk, "deprecated_api", NULL, "deprecated_http_api_calls",
	     controller->deprecated_calls);
	for (unsigned int i = 0; method_at(i); i++)
		walk_calls(walk, method_at(i));
	tell(walk, "logger", NULL, "missed_log_count", log_missed());
	tell(walk, "logger", NULL, "rate_limited_log_count", log_held_back());
	tell(walk, "logger", NULL, "missed_metrics_count", controller->metrics.missed);
	tell_level(walk, "latencies_us", "pause_vm", controller->latency.pause_us);
	tell_level(walk, "latencies_us", "resume_vm", controller->latency.resume_us);
	tell_level(walk, "latencies_us", "full_create_snapshot",
		   controller->latency.full_create_us);
	tell_level(walk, "latencies_us", "diff_create_snapshot",
		   controller->latency.diff_create_us);
	tell_level(walk, "latencies_us", "load_snapshot", controller->latency.load_us);
}

/* How the guest's life went, which Firecracker does not tell. */
static void walk_events(struct walk *walk)
{
	static const struct {
		enum machine_end end;
		const char *name;
	} ends[] = {
		{ MACHINE_POWERED_OFF, "powered_off" },	  { MACHINE_RESET, "reset" },
		{ MACHINE_TRIPLE_FAULT, "triple_fault" }, { MACHINE_KVM_ERROR, "kvm_error" },
		{ MACHINE_MEMORY_LOST, "memory_lost" },	  { MACHINE_STOPPED, "stopped" },
	};
	const char *text;
	enum machine_end end = walk->controller->machine
				       ? machine_end(walk->controller->machine, &text)
				       : MACHINE_RUNNING;

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		tell(walk, "events", NULL, ends[i].name, end == ends[i].end);
}

void metrics_walk(struct controller *controller,
		  void (*visit)(void *opaque, const struct metric *metric), void *opaque)
{
	struct walk walk = { controller, visit, opaque };

	walk_process(&walk);
	if (controller->mmds)
		walk_mmds(&walk, &controller->mmds->counters);
	if (controller->machine)
		walk_machine(&walk);
	walk_events(&walk);
}
