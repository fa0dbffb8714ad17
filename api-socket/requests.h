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

extern const struct field_set machine_fields;

struct boot_request {
	bool given;
	struct opt_file kernel_image_path, initrd_path;
	const char *boot_args;
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
	/* Ours. */
	struct opt_bool direct;
	struct opt_uint num_queues, queue_size, loop;
};

enum drive_cache {
	DRIVE_CACHE_UNSAFE,
	DRIVE_CACHE_WRITEBACK,
};

enum drive_engine {
	DRIVE_ENGINE_ASYNC,
	DRIVE_ENGINE_SYNC,
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

struct drive_patch_request {
	bool given;
	const char *drive_id;
	struct opt_file path_on_host;
	struct rate_request rate_limiter;
};

/* Of a thing with a name, only the name: what is to be removed. */
struct name_request {
	bool given;
	const char *id;
};

struct net_request {
	bool given;
	const char *iface_id;
	struct opt_file host_dev_name;
	const char *guest_mac;
	struct opt_uint mtu;
	struct rate_request rx_rate_limiter, tx_rate_limiter;
	/* Ours. */
	struct opt_bool antispoof;
	struct opt_uint queue_pairs;
};

struct net_patch_request {
	bool given;
	const char *iface_id;
	struct rate_request rx_rate_limiter, tx_rate_limiter;
};

extern const struct field_set net_fields;

/* "06:00:00:00:00:01" to bytes: -EINVAL when it is none. */
must_check int parse_mac(const char *text, uint8_t mac[static 6]);

/* A field's check for one. */
int check_mac(const char *text, char *why, size_t size);

struct pmem_request {
	bool given;
	const char *id;
	struct opt_file path_on_host;
	struct opt_bool root_device, read_only;
	struct rate_request rate_limiter;
};

struct pmem_patch_request {
	bool given;
	const char *id;
	struct rate_request rate_limiter;
};

extern const struct field_set pmem_fields;

struct vsock_request {
	bool given;
	struct opt_uint guest_cid;
	struct opt_file
		uds_path; /* of a descriptor, once it is kept, both: its path is the socket's */
	const char *vsock_id;
};

extern const struct field_set vsock_fields;

struct balloon_request {
	bool given;
	struct opt_uint amount_mib;
	struct opt_bool deflate_on_oom;
	struct opt_uint stats_polling_interval_s;
	struct opt_bool free_page_hinting, free_page_reporting;
};

extern const struct field_set balloon_fields;

struct entropy_request {
	bool given;
	struct rate_request rate_limiter;
};

extern const struct field_set entropy_fields;

struct serial_request {
	bool given;
	struct opt_file serial_out_path;
	struct bucket_request rate_limiter;
};

struct logger_request {
	bool given;
	struct opt_file log_path;
	const char *level;
	struct opt_bool show_level, show_log_origin;
	const char *module;
};

struct metrics_request {
	bool given;
	struct opt_file metrics_path;
	struct opt_bool emit_id;
	json_t *properties;
};

struct vm_request {
	bool given;
	struct opt_uint state; /* enum vm_state */
};

struct stop_request {
	bool given;
	const char *text;
};

enum vm_state {
	VM_PAUSED,
	VM_RESUMED,
};

struct snapshot_create_request {
	bool given;
	struct opt_uint snapshot_type; /* enum snapshot_type */
	struct opt_file snapshot_path, mem_file_path;
};

enum snapshot_type {
	SNAPSHOT_DIFF,
	SNAPSHOT_FULL,
};

struct mem_backend_request {
	bool given;
	struct opt_file backend_path;
	struct opt_uint backend_type; /* enum mem_backend */
	struct opt_uint timeout_ms;   /* ours */
};

enum mem_backend {
	MEM_BACKEND_FILE,
	MEM_BACKEND_UFFD,
};

struct net_override {
	bool given;
	const char *iface_id;
	struct opt_file host_dev_name;
	const char *guest_mac; /* ours */
};

struct drive_override {
	bool given;
	const char *drive_id;
	struct opt_file path_on_host;
};

struct pmem_override {
	bool given;
	const char *id;
	struct opt_file path_on_host;
};

struct vsock_override {
	bool given;
	struct opt_file uds_path;
	struct opt_uint guest_cid; /* ours */
};

struct serial_override {
	bool given;
	struct opt_file serial_out_path;
};

struct snapshot_load_request {
	bool given;
	struct opt_file snapshot_path, mem_file_path;
	struct mem_backend_request mem_backend;
	struct opt_bool enable_diff_snapshots, track_dirty_pages, resume_vm;
	struct opt_list network_overrides; /* struct net_override */
	struct opt_list drive_overrides;   /* ours: struct drive_override */
	struct opt_list pmem_overrides;	   /* ours: struct pmem_override */
	struct vsock_override vsock_override;
	struct serial_override serial_override; /* ours */
	json_t *mmds;				/* ours: the metadata */
	struct opt_bool clock_realtime;
	struct opt_uint huge_pages; /* 0: as in the snapshot; else enum huge_pages_kind plus 1 */
};

struct mmds_config_request {
	bool given;
	struct opt_uint version;	    /* enum mmds_version */
	struct opt_list network_interfaces; /* const char *: iface_id */
	const char *ipv4_address;
	struct opt_bool imds_compat;
};

enum mmds_version {
	MMDS_V1,
	MMDS_V2,
};

extern const struct field_set mmds_config_fields;

/*
 * PUT /snapshot/create and /snapshot/load hand their requests to these (api-socket/methods_snapshot.c).
 * 0 or -errno with *err, the sentence without Firecracker's prefix.
 */
struct controller;
must_check int controller_save_snapshot(struct controller *controller,
					const struct snapshot_create_request *request,
					struct error *err);
must_check int controller_load_snapshot(struct controller *controller,
					const struct snapshot_load_request *request,
					struct error *err);
