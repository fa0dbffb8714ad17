/* A policy file, in our text and as Firecracker's JSON: whatever it says, a filter or a refusal. */
#include <string.h>

#include "jailer/seccomp_compile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void compile(const struct seccomp_policy *policy)
{
	struct error err = { 0 };

	for (int kind = 0; kind < THREAD_KINDS; kind++) {
		struct sock_filter *filter = NULL;
		unsigned int count;

		if (seccomp_compile(&policy->kinds[kind], &filter, &count, &err) == 0)
			free(filter);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seccomp_policy policy;
	struct error err = { 0 };

	if (size > 4096)
		return 0;
	if (seccomp_policy_parse(&policy, "fuzz", (const char *)data, size, &err) == 0)
		compile(&policy);
	seccomp_policy_free(&policy);
	if (seccomp_policy_parse_json(&policy, "fuzz", (const char *)data, size, &err) == 0)
		compile(&policy);
	seccomp_policy_free(&policy);
	return 0;
}
