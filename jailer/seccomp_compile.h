/* From a policy to what the kernel takes. Uses libseccomp; not needed for the policy that is built in. */
#pragma once

#include <linux/filter.h>

#include "jailer/seccomp_policy.h"

/* *filter is malloc()ed, *count its instructions. -errno and *err. */
must_check int seccomp_compile(const struct seccomp_list *list, struct sock_filter **filter,
			       unsigned int *count, struct error *err);
