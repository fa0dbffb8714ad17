/* A policy file, in our text and as Firecracker's JSON: whatever it says, a policy or a refusal that says why. What
 * the library makes of a policy is left out: some sets of rules keep it busy for minutes. */
#include <stdlib.h>

#include "jailer/seccomp_compile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seccomp_policy policy;
	struct error err = { 0 };

	if (size > 4096)
		return 0;
	if (seccomp_policy_parse(&policy, "fuzz", (const char *)data, size, &err) < 0 &&
	    !err.text[0])
		abort();
	seccomp_policy_free(&policy);
	err.text[0] = '\0';
	if (seccomp_policy_parse_json(&policy, "fuzz", (const char *)data, size, &err) < 0 &&
	    !err.text[0])
		abort();
	seccomp_policy_free(&policy);
	return 0;
}
