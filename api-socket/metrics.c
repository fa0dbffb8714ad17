/* Everything that a microVM counts, in one walk. */
#include "api-socket/metrics.h"

#include <linux/virtio_ids.h>
#include <signal.h>
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
	walk->visit(walk->opaque,
		    &(struct metric){ family, instance, NULL, name, value, METRIC_COUNT });
}

static void tell_level(struct walk *walk, const char *family, const char *name, uint64_t value)
{
	walk->visit(walk->opaque,
		    &(struct metric){ family, NULL, NULL, name, value, METRIC_LEVEL });
}

static void tell_latency(struct walk *walk, const char *family, const char *instance,
			 const char *group, const struct latency *latency)
{
	const struct metric metrics[] = {
		{ family, instance, group, "min_us", latency->min / 1000, METRIC_LEAST },
		{ family, instance, group, "max_us", latency->max / 1000, METRIC_MOST },
		{ family, instance, group, "sum_us", latency->sum / 1000, METRIC_COUNT },
	};

	for (size_t i = 0; i < ARRAY_SIZE(metrics); i++)
		walk->visit(walk->opaque, &metrics[i]);
}

/* Devices ---------------------------------------------------------------------------------------*/

static uint64_t read_count(const _Atomic uint64_t *count)
{
	return atomic_load_explicit(count, memory_order_relaxed);
}

static void walk_device(struct walk *walk, const char *family, const char *instance,
			struct virtio_device *dev)
{
	const struct virtio_ops *ops = dev->ops;

	for (unsigned int i = 0; i < ops->counter_count; i++)
		tell(walk, family, instance, ops->counter_names[i], read_count(&dev->counters[i]));
	for (unsigned int i = 0; i < VIRTIO_LATENCIES && ops->latency_names[i]; i++)
		tell_latency(walk, family, instance, ops->latency_names[i], &dev->latencies[i]);
	tell(walk, family, instance, "activate_fails", read_count(&dev->activate_fails));
	tell(walk, family, instance, "cfg_fails", read_count(&dev->config_fails));
	tell(walk, family, instance, "device_failed", read_count(&dev->breaks));
	/* What goes wrong with a drive's events leaves it in need of a reset. */
	if (ops->id == VIRTIO_ID_BLOCK)
		tell(walk, family, instance, "event_fails", read_count(&dev->breaks));
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

static void walk_vcpus(struct walk *walk, const struct machine_counts *counts)
{
	static const struct {
		const char *count, *times;
	} exits[VCPU_EXITS] = {
		[VCPU_EXIT_IO_IN] = { "exit_io_in", "exit_io_in_agg" },
		[VCPU_EXIT_IO_OUT] = { "exit_io_out", "exit_io_out_agg" },
		[VCPU_EXIT_MMIO_READ] = { "exit_mmio_read", "exit_mmio_read_agg" },
		[VCPU_EXIT_MMIO_WRITE] = { "exit_mmio_write", "exit_mmio_write_agg" },
	};

	for (unsigned int i = 0; i < VCPU_EXITS; i++) {
		tell(walk, "vcpu", NULL, exits[i].count, counts->vcpu_exits[i]);
		tell_latency(walk, "vcpu", NULL, exits[i].times, &counts->vcpu_exit_times[i]);
	}
	tell(walk, "vcpu", NULL, "failures", counts->vcpu_failures);
	tell(walk, "vcpu", NULL, "kvmclock_ctrl_fails", counts->pauses_untold);
}

static void walk_legacy(struct walk *walk, const struct machine_counts *counts)
{
	tell(walk, "uart", NULL, "write_count", counts->serial.written);
	tell(walk, "uart", NULL, "read_count", counts->serial.read);
	tell(walk, "uart", NULL, "rate_limiter_dropped_bytes", counts->serial.held_back);
	tell(walk, "uart", NULL, "missed_read_count", counts->serial.missed_reads);
	tell(walk, "uart", NULL, "missed_write_count", counts->serial.missed_writes);
	tell(walk, "uart", NULL, "error_count", counts->serial.lost);
	tell(walk, "uart", NULL, "flush_count", counts->serial.flushes);
	tell(walk, "i8042", NULL, "read_count", counts->i8042.reads);
	tell(walk, "i8042", NULL, "write_count", counts->i8042.writes);
	tell(walk, "i8042", NULL, "missed_read_count", counts->i8042.missed_reads);
	tell(walk, "i8042", NULL, "missed_write_count", counts->i8042.missed_writes);
	tell(walk, "i8042", NULL, "reset_count", counts->i8042.resets);
	tell(walk, "i8042", NULL, "error_count", counts->i8042.errors);
	tell(walk, "interrupts", NULL, "triggers", counts->interrupts);
	tell(walk, "interrupts", NULL, "config_updates", counts->route_updates);
}

static void walk_machine(struct walk *walk)
{
	struct controller *controller = walk->controller;
	struct machine_counts counts;

	machine_count(controller->machine, &counts);
	walk_vcpus(walk, &counts);
	walk_legacy(walk, &counts);
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
	tell(walk, "logger", NULL, "metrics_fails", controller->metrics.fails);
}

/* Firecracker tells what its API's thread saw and what the other one took; here one thread does both. */
static void walk_latencies(struct walk *walk)
{
	const struct controller *controller = walk->controller;
	const struct {
		const char *name, *vmm_name;
		uint64_t us;
	} times[] = {
		{ "pause_vm", "vmm_pause_vm", controller->latency.pause_us },
		{ "resume_vm", "vmm_resume_vm", controller->latency.resume_us },
		{ "full_create_snapshot", "vmm_full_create_snapshot",
		  controller->latency.full_create_us },
		{ "diff_create_snapshot", "vmm_diff_create_snapshot",
		  controller->latency.diff_create_us },
		{ "load_snapshot", "vmm_load_snapshot", controller->latency.load_us },
	};

	for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
		tell_level(walk, "latencies_us", times[i].name, times[i].us);
		tell_level(walk, "latencies_us", times[i].vmm_name, times[i].us);
	}
}

/* Of one that ends the process where it stands controller_tell_crash() tells. SIGPIPE and SIGXFSZ are ignored. */
const struct metrics_signal metrics_signals[] = {
	{ "sigbus", SIGBUS },	{ "sigsegv", SIGSEGV },
	{ "sigxfsz", SIGXFSZ }, { "sigxcpu", SIGXCPU },
	{ "sigpipe", SIGPIPE }, { "sighup", SIGHUP },
	{ "sigill", SIGILL },	{ NULL, 0 },
};

static void walk_signals(struct walk *walk)
{
	for (size_t i = 0; metrics_signals[i].name; i++)
		tell_level(walk, "signals", metrics_signals[i].name,
			   walk->controller->ended_by == metrics_signals[i].number);
	tell(walk, "seccomp", NULL, "num_faults", 0);
	tell(walk, "vmm", NULL, "panic_count", 0);
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
	walk_latencies(&walk);
	if (controller->mmds)
		walk_mmds(&walk, &controller->mmds->counters);
	if (controller->machine)
		walk_machine(&walk);
	walk_events(&walk);
	walk_signals(&walk);
}
