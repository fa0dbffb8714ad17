/* Private to api-socket/: the controller's inside, and what its methods share. */
#pragma once

#include "api-socket/controller.h"
#include "api-socket/controller_notices.h"
#include "api-socket/metrics.h"
#include "api-socket/requests.h"
#include "base/log.h"
#include "vmm/cpu_template.h"
#include "vmm/machine_snapshot.h"

/* Calls of one method. */
struct call_counts {
	uint64_t count, fails;
};

#define METHODS_MAX 64u

struct controller {
	struct event_loop *loop;
	const struct controller_host *host;
	struct timeline *timeline;
	const char *id;
	const char *tap_policies; /* these two as in controller_params */

	enum api_phase phase;
	struct listeners listeners; /* the connections that can be told of events */
	struct controller_console
		*console; /* NULL: nobody has asked for it, and no machine was made */
	struct controller_notices notices; /* of the machine */
	struct machine *machine;
	struct machine_snapshot *snapshot; /* what the machine was made from; NULL: a kernel */

	/* What was asked for, as it was asked. */
	struct machine_request machine_config;
	bool machine_touched; /* machine_config was asked for: no snapshot can be loaded any more */
	struct kept boot;
	struct kept drives[VM_DRIVES_MAX]; /* struct drive_request; the root device is the first */
	unsigned int drive_count;
	struct kept nets[VM_NETS_MAX]; /* struct net_request */
	unsigned int net_count;
	struct kept pmems[VM_PMEMS_MAX]; /* struct pmem_request */
	unsigned int pmem_count;
	struct kept vsock, entropy, serial, mmds_config;
	struct balloon_request balloon; /* not `given`: there is none */

	struct log_target log;	 /* its fd is ours */
	struct cpu_template cpu; /* its arrays are ours */
	struct kept logger, metrics_request;
	struct metrics_sink metrics;
	struct call_counts calls[METHODS_MAX]; /* by the method's number */
	uint64_t deprecated_calls;
	struct log_limit deprecations;
	bool boot_timer;
	int ended_by;			     /* the signal that ends the process; 0: none so far */
	uint64_t startup_us, startup_cpu_us; /* of this process, for the metrics */
	struct {
		uint64_t pause_us, resume_us, full_create_us, diff_create_us, load_us;
	} latency; /* of the last one of each */

	struct mmds *mmds;	/* the metadata service; NULL: not needed so far */
	size_t mmds_max;	/* bytes of its data */
	int serial_fd;		/* where the serial port's output goes, when not to ours; -1 */
	struct vm_config vm;	/* made of it at the start */
	struct vm_config *live; /* the machine's while there is one: this or a snapshot's */
};

/* api-socket/compose.c: controller->vm from what was asked for. Strings stay the requests'. */
void controller_compose(struct controller *controller);

/* What /serial says of how much output there may be, which is in no snapshot. */
void controller_compose_serial_limit(const struct controller *controller, struct vm_config *vm);

/* api-socket/controller.c: builds the machine and lets it run; on failure it is as if never asked. */
must_check int controller_start(struct controller *controller, struct error *err);

/* The same up to what a snapshot brings: then the phase is PHASE_PREPARED. */
must_check int controller_prepare(struct controller *controller, struct error *err);

/* Everything that was asked for of the microVM itself is as never asked for. There is no machine. */
void controller_forget(struct controller *controller);

/* Is it so? */
bool controller_is_fresh(const struct controller *controller);

/* api-socket/methods_mmds.c: may the guest reach the metadata service by this interface? */
bool controller_serves_mmds(const struct controller *controller, const char *iface_id);

/* api-socket/methods_serial.c: opens what /serial names. -errno and *err. */
must_check int controller_open_serial(struct controller *controller, struct error *err);

/* The same for another place: *fd is the caller's, -1 on failure. */
must_check int controller_open_serial_at(const struct opt_file *file, int *fd, struct error *err);

/* api-socket/methods_cpu.c: frees its arrays. */
void cpu_template_clear(struct cpu_template *cpu);

/*
 * api-socket/tap_policy.c: in a jail, a tap (by name, or its descriptor) without a policy is warned about in the answer
 * and, if wanted, in the log. The second: all taps of the machine that there is.
 */
void controller_judge_tap(const struct controller *controller, const char *tap, int fd, bool log,
			  struct api_reply *reply);
void controller_judge_taps(const struct controller *controller, bool log, struct api_reply *reply);

/* A file or pipe that is added to, for it needs no reader. Never blocks. -1 and errno. */
int controller_open_output(const char *path);

/* A file or pipe for lines: never blocks, neither here nor at writing; what came as a descriptor is made so. -errno. */
int controller_open_sink(const struct opt_file *file);

/* The name of the thing that a kept request is about. */
const char *kept_name(const struct kept *kept);

/* Changes the phase and tells everybody who listens. */
void controller_set_phase(struct controller *controller, enum api_phase phase);

/* The phase as the API calls it: "Not started". */
const char *controller_state(const struct controller *controller);

/* Among `count` kept requests the one whose field (a string) is `id`: its index, or count. */
unsigned int kept_find(const struct kept *kept, unsigned int count, const char *id);

/* What of a limit a patch names: NULL for what it leaves alone. The buckets are in *out. */
struct rate_update {
	struct bucket_config bytes, ops;
	const struct bucket_config *new_bytes, *new_ops; /* into the above, or NULL */
};

void compose_rate_update(const struct rate_request *rate, struct rate_update *out);

/* A limit that was put, as it is shown from then on: what limits nothing is no limit. */
void compose_rate_kept(struct rate_request *rate);

/* api-socket/controller_snapshot.c: a prepared machine's room for what a load will read. */
void controller_make_room(struct controller *controller);

/* A patch that the device has taken: what is shown (`kept`) and what a snapshot holds (`live`) follow. */
void compose_rate_patched(const struct rate_request *patch, struct rate_request *kept,
			  struct rate_config *live);

/* The index-th device of a kind (VIRTIO_ID_*) of the running machine. */
struct virtio_device *controller_device(struct controller *controller, uint32_t virtio_id,
					unsigned int index);

/* api-socket/snapshot_kept.c: what was asked for, as far as a loaded snapshot's configuration tells, so that
 * /vm/config shows it and PATCH finds it by name. */
must_check int controller_keep_config(struct controller *controller, const struct vm_config *vm,
				      struct error *err);

/* api-socket/methods_balloon.c: what the guest said last; NULL: nothing is to be had. */
json_t *controller_balloon_statistics(struct controller *controller);

/* api-socket/methods_stats.c: when its start reached which moment; NULL when out of memory. */
json_t *controller_trace(const struct controller *controller);

struct mmds_config;
must_check int controller_keep_mmds(struct controller *controller, const struct vm_config *vm,
				    const struct mmds_config *config, struct error *err);

/* api-socket/snapshot_identity.c: who a clone is to be, by the names that `vm` has. Its descriptors are copies,
 * for machine_adopt(); on failure there are none. */
must_check int controller_read_identity(struct controller *controller, const struct vm_config *vm,
					const struct snapshot_load_request *request,
					struct machine_identity *out, struct error *err);

/* Moves what a machine is built with from the identity into its configuration. */
void controller_configure_identity(struct machine_identity *identity, struct vm_config *vm);

/* After a prepared machine has taken it up: the configuration says who it is now. */
void controller_note_identity(const struct machine_identity *identity, struct vm_config *vm);

/* api-socket/controller.c: who listens to the machine that was just made, and whoever is around us; and its end. */
must_check int controller_connect_machine(struct controller *controller, struct error *err);
void controller_drop_machine(struct controller *controller);
