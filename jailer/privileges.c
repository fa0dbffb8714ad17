#include "jailer/privileges.h"

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIT(capability) (1ull << (capability))

/* Files of other users, which root may name: opened by the control thread, sockets connected to by I/O loops. */
#define OTHERS_FILES (BIT(CAP_DAC_OVERRIDE) | BIT(CAP_DAC_READ_SEARCH) | BIT(CAP_FOWNER))

static const uint64_t kept[THREAD_KINDS] = {
	/* SYS_PTRACE: a userfaultfd for the kernel's own accesses. */
	[THREAD_CONTROL] = OTHERS_FILES | BIT(CAP_IPC_LOCK) | BIT(CAP_SYS_PTRACE),
	/* IPC_LOCK: what a ring pins is not counted. */
	[THREAD_IO] = OTHERS_FILES | BIT(CAP_IPC_LOCK),
	[THREAD_VCPU] = 0,
};

int privileges_drop(enum thread_kind kind, struct error *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[2];
	bool changes = false;

	if (syscall(SYS_capget, &header, sets) < 0)
		return error_set_errno(err, errno, "cannot see which capabilities there are");
	for (unsigned int i = 0; i < 2; i++) {
		uint32_t mask = (uint32_t)(kept[kind] >> (32 * i));

		changes |= (sets[i].permitted & ~mask) || sets[i].inheritable;
		sets[i].permitted &= mask;
		sets[i].effective &= mask;
		sets[i].inheritable = 0;
	}
	/* In a jail there is nothing to drop. */
	if (changes && syscall(SYS_capset, &header, sets) < 0)
		return error_set_errno(err, errno, "cannot drop capabilities");
	return 0;
}
