/* A snapshot as a tree, which is printed as JSON or read out as a table. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cmd/snapshot.h"
#include "virtio/virtio_device_state.h"
#include "vmm/snapshot_needs.h"

/* A name in the file may hold anything: what is not text becomes question marks. */
static json_t *text(const char *from)
{
	char copy[SAVED_PATH_MAX];
	json_t *value;

	snprintf(copy, sizeof(copy), "%s", from);
	for (char *at = copy; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			*at = '?';
	value = json_string(copy);
	if (value)
		return value;
	for (char *at = copy; *at; at++)
		if ((unsigned char)*at > 0x7f)
			*at = '?';
	return json_string(copy);
}

/* Devices -----------------------------------------------------------------------------------------*/

static json_t *drive_tree(const struct saved_drive *drive)
{
	return json_pack("{s:s, s:o, s:o, s:b}", "kind", "drive", "id", text(drive->id), "path",
			 *drive->path ? text(drive->path) : json_null(), "read_only",
			 drive->read_only);
}

static json_t *net_tree(const struct saved_net *net)
{
	char mac[18];

	snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", net->mac[0], net->mac[1],
		 net->mac[2], net->mac[3], net->mac[4], net->mac[5]);
	return json_pack("{s:s, s:o, s:o, s:o}", "kind", "net", "id", text(net->id), "tap",
			 *net->tap ? text(net->tap) : json_null(), "mac",
			 net->has_mac ? json_string(mac) : json_null());
}

static json_t *pmem_tree(const struct saved_pmem *pmem)
{
	return json_pack("{s:s, s:o, s:o, s:b, s:b}", "kind", "pmem", "id", text(pmem->id), "path",
			 *pmem->path ? text(pmem->path) : json_null(), "read_only", pmem->read_only,
			 "root", pmem->root);
}

/* The sections of virtio devices are in the same order: drives, interfaces and so on. */
static void add_queues(json_t *devices, const struct state_file *state)
{
	struct virtio_device_state *device cleanup_free = malloc(sizeof(*device));
	struct error err = { 0 };

	for (uint32_t i = 0; device && i < json_array_size(devices); i++)
		if (state_file_get(state, &virtio_device_state_desc, i, device, &err) == 0)
			json_object_set_new(json_array_get(devices, i), "queues",
					    json_integer(device->queue_count));
}

static json_t *devices_tree(const struct snapshot_view *view)
{
	const struct saved_config *config = &view->config;
	json_t *devices = json_array();

	for (uint32_t i = 0; i < config->drive_count; i++)
		json_array_append_new(devices, drive_tree(&config->drives[i]));
	for (uint32_t i = 0; i < config->net_count; i++)
		json_array_append_new(devices, net_tree(&config->nets[i]));
	for (uint32_t i = 0; i < config->pmem_count; i++)
		json_array_append_new(devices, pmem_tree(&config->pmems[i]));
	if (config->has_vsock)
		json_array_append_new(devices, json_pack("{s:s, s:I, s:o}", "kind", "vsock", "cid",
							 (json_int_t)config->vsock.cid, "path",
							 text(config->vsock.path)));
	if (config->has_balloon)
		json_array_append_new(devices,
				      json_pack("{s:s, s:I}", "kind", "balloon", "target_mib",
						(json_int_t)config->balloon.target_mib));
	if (config->has_rng)
		json_array_append_new(devices, json_pack("{s:s}", "kind", "rng"));
	add_queues(devices, &view->state);
	return devices;
}

/* Needs -------------------------------------------------------------------------------------------*/

static void add_feature(void *opaque, uint32_t function, uint32_t index, const char *reg,
			uint32_t bits)
{
	json_array_append_new(opaque, json_pack("{s:I, s:I, s:s, s:I}", "leaf",
						(json_int_t)function, "subleaf", (json_int_t)index,
						"register", reg, "bits", (json_int_t)bits));
}

static void copy_registers(char *to, const struct kvm_cpuid_entry2 *entry, bool vendor)
{
	const uint32_t brand[] = { entry->eax, entry->ebx, entry->ecx, entry->edx };
	const uint32_t name[] = { entry->ebx, entry->edx, entry->ecx };

	memcpy(to, vendor ? name : brand, vendor ? sizeof(name) : sizeof(brand));
}

/* Features: those that no processor at all would lack nothing of. */
static json_t *processor_tree(const struct cpuid *cpuid)
{
	static const struct cpuid nothing;
	char vendor[13] = "", model[49] = "";
	json_t *features = json_array();

	for (uint32_t i = 0; i < cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		if (entry->function == 0)
			copy_registers(vendor, entry, true);
		else if (entry->function >= 0x80000002 && entry->function <= 0x80000004)
			copy_registers(model + (entry->function - 0x80000002) * 16, entry, false);
	}
	cpuid_missing(cpuid, &nothing, add_feature, features);
	return json_pack("{s:o, s:o, s:o}", "vendor", text(vendor), "model", text(model),
			 "features", features);
}

static json_t *capabilities_tree(const struct snapshot_info *info)
{
	json_t *capabilities = json_array();

	for (uint32_t i = 0; i < info->capability_count; i++) {
		char number[CAPABILITY_TEXT];

		json_array_append_new(capabilities,
				      text(capability_name(info->capabilities[i], number)));
	}
	return capabilities;
}

static json_t *needs_tree(const struct snapshot_view *view)
{
	return json_pack("{s:o, s:o, s:I, s:I, s:I, s:b}", "capabilities",
			 capabilities_tree(&view->info), "processor", processor_tree(&view->cpuid),
			 "tsc_khz", (json_int_t)view->vcpu.tsc_khz, "xsave_bytes",
			 (json_int_t)view->vcpu.xsave_size, "msrs",
			 (json_int_t)view->vcpu.msr_count, "tsc_offset", view->vcpu.has_tsc_offset);
}

/* The whole ---------------------------------------------------------------------------------------*/

static json_t *sections_tree(const struct state_file *state)
{
	json_t *sections = json_array();

	for (uint32_t i = 0; i < state->count; i++) {
		const struct state_section *section = &state->sections[i];
		char name[80];

		snprintf(name, sizeof(name), "%.*s",
			 (int)MIN(section->name.len, (uint32_t)sizeof(name) - 1),
			 (const char *)section->name.bytes);
		json_array_append_new(sections,
				      json_pack("{s:o, s:I, s:I, s:I}", "name", text(name), "index",
						(json_int_t)section->index, "version",
						(json_int_t)section->version, "bytes",
						(json_int_t)(section->end - section->fields)));
	}
	return sections;
}

static json_t *time_text(uint64_t ns)
{
	const time_t seconds = (time_t)(ns / 1000000000);
	char out[32] = "";
	struct tm at;

	if (gmtime_r(&seconds, &at))
		strftime(out, sizeof(out), "%Y-%m-%dT%H:%M:%SZ", &at);
	return json_string(out);
}

static json_t *tree(const struct snapshot_view *view)
{
	const struct snapshot_info *info = &view->info;
	char id[SNAPSHOT_ID_TEXT], parent[SNAPSHOT_ID_TEXT];

	snapshot_id_text(info->id, id);
	snapshot_id_text(info->parent, parent);
	return json_pack("{s:s, s:s, s:o, s:I, s:o, s:o, s:o, s:b, s:I, s:I, s:I, s:o, s:o, s:o}",
			 "id", id, "kind", info->is_diff ? "diff" : "full", "parent",
			 info->is_diff ? json_string(parent) : json_null(), "format",
			 (json_int_t)STATE_FILE_FORMAT, "mayfly_version",
			 text(info->mayfly_version), "created", time_text(info->created),
			 "host_kernel", text(info->host_kernel), "memory_has_id",
			 info->has_attribute, "memory_bytes", (json_int_t)info->memory,
			 "written_pages", (json_int_t)info->written_pages, "vcpus",
			 (json_int_t)view->config.vcpus, "devices", devices_tree(view), "needs",
			 needs_tree(view), "sections", sections_tree(&view->state));
}

/* For people --------------------------------------------------------------------------------------*/

static const char *word(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value ? value : "-";
}

static long long number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static void print_device(json_t *device)
{
	const char *key;
	json_t *value;

	printf("  %-8s", word(device, "kind"));
	json_object_foreach(device, key, value)
	{
		if (strcmp(key, "kind") == 0)
			continue;
		if (json_is_string(value))
			printf("  %s %s", key, json_string_value(value));
		else if (json_is_integer(value))
			printf("  %s %lld", key, (long long)json_integer_value(value));
		else if (json_is_true(value))
			printf("  %s", key);
	}
	putchar('\n');
}

static void print_feature(const json_t *feature)
{
	char name[48];

	snprintf(name, sizeof(name), "%#llx.%lld.%s", number(feature, "leaf"),
		 number(feature, "subleaf"), word(feature, "register"));
	printf("  CPUID      %-16s %#010llx\n", name, number(feature, "bits"));
}

static void print_needs(const json_t *needs)
{
	const json_t *processor = json_object_get(needs, "processor");
	const json_t *features = json_object_get(processor, "features");
	const json_t *capabilities = json_object_get(needs, "capabilities");

	printf("needs\n  processor  %s %s\n", word(processor, "vendor"), word(processor, "model"));
	for (size_t i = 0; i < json_array_size(features); i++)
		print_feature(json_array_get(features, i));
	for (size_t i = 0; i < json_array_size(capabilities); i++)
		printf("  KVM        %s\n", json_string_value(json_array_get(capabilities, i)));
	printf("  TSC        %lld kHz%s\n", number(needs, "tsc_khz"),
	       json_is_true(json_object_get(needs, "tsc_offset")) ? ", by its offset" : "");
	printf("  state      %lld bytes of XSAVE, %lld model-specific registers\n",
	       number(needs, "xsave_bytes"), number(needs, "msrs"));
}

static void print_sections(const json_t *sections)
{
	printf("sections              version    bytes\n");
	for (size_t i = 0; i < json_array_size(sections); i++) {
		const json_t *section = json_array_get(sections, i);

		printf("  %-14s %3lld  %7lld  %7lld\n", word(section, "name"),
		       number(section, "index"), number(section, "version"),
		       number(section, "bytes"));
	}
}

static void print_table(const json_t *root)
{
	const json_t *devices = json_object_get(root, "devices");

	printf("snapshot   %s (%s)\n", word(root, "id"), word(root, "kind"));
	if (json_is_string(json_object_get(root, "parent")))
		printf("on top of  %s\n", word(root, "parent"));
	printf("created    %s by mayfly %s on Linux %s, format %lld\n", word(root, "created"),
	       word(root, "mayfly_version"), word(root, "host_kernel"), number(root, "format"));
	printf("memory     %lld MiB, of which %lld pages of 4 KiB were written; %s\n",
	       number(root, "memory_bytes") >> 20, number(root, "written_pages"),
	       json_is_true(json_object_get(root, "memory_has_id")) ? "its file has the id"
								    : "its file has no id");
	printf("vCPUs      %lld\n", number(root, "vcpus"));
	printf("devices%s\n", json_array_size(devices) ? "" : "    none");
	for (size_t i = 0; i < json_array_size(devices); i++)
		print_device(json_array_get(devices, i));
	print_needs(json_object_get(root, "needs"));
	print_sections(json_object_get(root, "sections"));
}

int snapshot_show(const struct snapshot_view *view, bool json)
{
	json_t *root = tree(view);
	int ret = root ? 0 : -ENOMEM;

	if (root && json && (json_dumpf(root, stdout, JSON_INDENT(2)) || putchar('\n') == EOF))
		ret = -EIO;
	if (root && !json)
		print_table(root);
	json_decref(root);
	return ret;
}
