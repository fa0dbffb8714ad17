/*
 * What can be asked, as typed structs; each with the table that it is decoded by (fields.h says how).
 * Names and types are those of Firecracker's API, whose words the tables' help says in ours.
 */
#pragma once

#include "api-socket/fields.h"

struct bucket_request {
	bool given;
	struct opt_uint size, one_time_burst, refill_time;
};

struct rate_request {
	bool given;
	struct bucket_request bandwidth, ops;
};

extern const struct field_set bucket_fields, rate_fields;

struct machine_request {
	bool given;
	struct opt_uint vcpu_count, mem_size_mib;
	struct opt_bool smt;
	struct opt_uint cpu_template; /* enum cpu_template_name */
	struct opt_bool track_dirty_pages;
	struct opt_uint huge_pages; /* enum huge_pages_kind */
};

enum cpu_template_name {
	CPU_TEMPLATE_NONE = 3, /* its place in the list of words */
};

enum huge_pages_kind {
	HUGE_PAGES_NONE,
	HUGE_PAGES_TRANSPARENT,
	HUGE_PAGES_2M,
};

extern const struct field_set machine_fields, machine_patch_fields;

struct boot_request {
	bool given;
	const char *kernel_image_path, *initrd_path, *boot_args;
};

extern const struct field_set boot_fields;

struct drive_request {
	bool given;
	const char *drive_id, *partuuid;
	struct opt_bool is_root_device;
	struct opt_uint cache_type; /* enum drive_cache */
	struct opt_bool is_read_only;
	struct opt_file path_on_host;
	struct rate_request rate_limiter;
	struct opt_uint io_engine;
	const char *socket;
};

enum drive_cache {
	DRIVE_CACHE_UNSAFE,
	DRIVE_CACHE_WRITEBACK,
};

extern const struct field_set drive_fields;

struct action_request {
	bool given;
	struct opt_uint action_type; /* enum action */
};

enum action {
	ACTION_FLUSH_METRICS,
	ACTION_INSTANCE_START,
	ACTION_SEND_CTRL_ALT_DEL,
};

extern const struct field_set action_fields;
