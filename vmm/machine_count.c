/* Everything that a machine counts beside its virtio devices. */
#include "vmm/machine_priv.h"

static void add_vcpu(struct machine_counts *out, const struct vcpu *vcpu)
{
	for (unsigned int exit = 0; exit < VCPU_EXITS; exit++) {
		out->vcpu_exits[exit] += vcpu->exits[exit];
		latency_merge(&out->vcpu_exit_times[exit], &vcpu->exit_times[exit]);
	}
	out->vcpu_failures += vcpu->failures;
	out->pauses_untold += vcpu->pauses_untold;
}

static void count_serial(struct machine_counts *out, const struct serial *serial)
{
	out->serial.written = serial->written;
	out->serial.held_back = serial->held_back;
	out->serial.read = serial->read;
	out->serial.missed_reads = serial->missed_reads;
	out->serial.missed_writes = serial->missed_writes;
	out->serial.lost = serial->sink->dropped;
	out->serial.flushes = serial->sink->writes;
}

static void count_i8042(struct machine_counts *out, const struct i8042 *i8042)
{
	out->i8042.reads = i8042->reads;
	out->i8042.writes = i8042->writes;
	out->i8042.missed_reads = i8042->missed_reads;
	out->i8042.missed_writes = i8042->missed_writes;
	out->i8042.resets = i8042->resets;
	out->i8042.errors = i8042->errors;
}

void machine_count(struct machine *machine, struct machine_counts *out)
{
	*out = (struct machine_counts){ .route_updates = machine->routes.updates };
	for (unsigned int i = 0; i < machine->vcpu_count; i++)
		add_vcpu(out, &machine->vcpus[i]);
	count_serial(out, &machine->serial);
	count_i8042(out, &machine->i8042);
	for (unsigned int i = 0; i < ARRAY_SIZE(machine->routes.lines); i++)
		out->interrupts += machine->routes.lines[i].raised;
}
