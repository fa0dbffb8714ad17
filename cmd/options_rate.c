/* DEVICE,bytes=SIZE/MS[+BURST],ops=COUNT/MS[+BURST]: one grammar for whatever can be limited. */
#include <stdio.h>
#include <string.h>

#include "cmd/options_priv.h"

/* "net" 3 ".rx" is "net3.rx": what the machine calls its devices. */
static bool is_named(const char *device, const char *kind, unsigned int index, const char *flow)
{
	char name[32];

	snprintf(name, sizeof(name), "%s%u%s", kind, index, flow);
	return strcmp(device, name) == 0;
}

/* NULL: the machine has no such device, or it has no limit. */
static struct rate_config *find_rate(struct vm_config *vm, const char *device)
{
	for (unsigned int i = 0; i < vm->drive_count; i++)
		if (strcmp(device, drive_name(i)) == 0)
			return &vm->drives[i].rate;
	for (unsigned int i = 0; i < vm->net_count; i++) {
		if (is_named(device, "net", i, ".rx"))
			return &vm->nets[i].rx_rate;
		if (is_named(device, "net", i, ".tx"))
			return &vm->nets[i].tx_rate;
	}
	for (unsigned int i = 0; i < vm->pmem_count; i++)
		if (is_named(device, "pmem", i, ""))
			return &vm->pmems[i].rate;
	return strcmp(device, "rng") == 0 && !vm->no_rng ? &vm->rng.rate : NULL;
}

typedef int parse_amount_fn(const char *name, const char *text, uint64_t *out, struct error *err);

static int parse_ops(const char *name, const char *text, uint64_t *out, struct error *err)
{
	unsigned long count = 0;
	int ret = parse_number(name, text, 0, UINT64_MAX, &count, err);

	*out = count;
	return ret;
}

/* AMOUNT/MS[+AMOUNT], on a copy of the value. */
static int parse_bucket(const char *name, const char *value, parse_amount_fn *parse_amount,
			struct bucket_config *out, struct error *err)
{
	char text[128];
	char *refill, *burst;
	unsigned long ms = 0;
	int ret;

	snprintf(text, sizeof(text), "%s", value);
	refill = strchr(text, '/');
	if (!refill)
		return error_set(err, EINVAL,
				 "%s=%s: it wants AMOUNT/MS, as much in so many milliseconds", name,
				 value);
	*refill++ = '\0';
	burst = strchr(refill, '+');
	if (burst)
		*burst++ = '\0';
	ret = parse_amount(name, text, &out->size, err);
	if (ret == 0)
		ret = parse_number(name, refill, 1, UINT64_MAX, &ms, err);
	if (ret == 0 && burst)
		ret = parse_amount(name, burst, &out->one_time_burst, err);
	if (ret == 0 && out->size == 0)
		ret = error_set(err, EINVAL, "%s=%s: nothing could ever pass", name, value);
	out->refill_ms = ms;
	return ret;
}

static int parse_rate_key(const char *name, const char *key, const char *value, void *config,
			  struct error *err)
{
	struct rate_config *rate = config;
	const bool is_bytes = strcmp(key, "bytes") == 0;
	struct bucket_config *bucket = is_bytes ? &rate->bytes : &rate->ops;
	char label[64];

	if (!is_bytes && strcmp(key, "ops") != 0)
		return error_set(err, EINVAL, "%s: unknown setting '%s'; there are bytes and ops",
				 name, key);
	if (bucket->size > 0)
		return error_set(err, EINVAL, "%s: %s is given twice", name, key);
	snprintf(label, sizeof(label), "%s: %s", name, key);
	return parse_bucket(label, value, is_bytes ? parse_size : parse_ops, bucket, err);
}

int parse_rate(const char *name, char *text, struct vm_config *vm, struct error *err)
{
	char *keys = strchr(text, ',');
	struct rate_config *rate;
	char label[64];

	if (keys)
		*keys++ = '\0';
	rate = find_rate(vm, text);
	if (!rate)
		return error_set(err, EINVAL,
				 "%s: the machine has no '%s' to limit; it may be a drive (vda), a "
				 "direction of a network interface (net0.rx), pmem0 or rng",
				 name, text);
	if (!keys)
		return error_set(err, EINVAL, "%s %s: it wants bytes=SIZE/MS, ops=COUNT/MS or both",
				 name, text);
	snprintf(label, sizeof(label), "%s %s", name, text);
	return parse_keys(label, keys, parse_rate_key, rate, err);
}
