#include "jailer/landlock.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"

/* What the monitor does with files. REFER: a snapshot moves into its place. */
#define FILES_ALLOWED                                                   \
	(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | \
	 LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | \
	 LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |  \
	 LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REFER)
/* What it never does. */
#define FILES_NEVER                                                     \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR |    \
	 LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | \
	 LANDLOCK_ACCESS_FS_MAKE_SYM)

/* As of Linux 6.12; the header of Debian 12 ends after the first member. */
struct ruleset {
	uint64_t files, net, scopes;
};

#define NET_ALL 3    /* LANDLOCK_ACCESS_NET_BIND_TCP, _CONNECT_TCP; version 4 */
#define SCOPES_ALL 3 /* LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET, _SIGNAL; version 6 */

/* Allows nothing. Kept open: a thread that makes its own would need the call for that. -1: there is no Landlock. */
static int nothing_fd = -1;

static int restrict_self(int ruleset)
{
	return syscall(SYS_landlock_restrict_self, ruleset, 0) < 0 ? -errno : 0;
}

static int make_ruleset(const struct ruleset *ruleset, long version)
{
	size_t size = version < 4   ? offsetof(struct ruleset, net)
		      : version < 6 ? offsetof(struct ruleset, scopes)
				    : sizeof(*ruleset);
	int fd = (int)syscall(SYS_landlock_create_ruleset, ruleset, size, 0);

	return fd < 0 ? -errno : fd;
}

/* The first version has no REFER. */
static uint64_t known_to(long version)
{
	return version < 2 ? ~(uint64_t)LANDLOCK_ACCESS_FS_REFER : ~0ull;
}

static int confine_below_root(long version)
{
	const struct ruleset rules = { (FILES_ALLOWED | FILES_NEVER) & known_to(version), NET_ALL,
				       SCOPES_ALL };
	struct landlock_path_beneath_attr root = { .allowed_access = FILES_ALLOWED &
								     known_to(version) };
	int dir cleanup_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd cleanup_fd = dir < 0 ? -errno : make_ruleset(&rules, version);

	if (fd < 0)
		return fd;
	root.parent_fd = dir;
	if (syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &root, 0) < 0)
		return -errno;
	return restrict_self(fd);
}

int landlock_confine(struct error *err)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0,
			       LANDLOCK_CREATE_RULESET_VERSION);
	const struct ruleset nothing = { (FILES_ALLOWED | FILES_NEVER) & known_to(version), 0, 0 };
	int ret;

	if (version < 0) {
		log_warn("no Landlock in this kernel: files are guarded by the filters of system "
			 "calls alone");
		return 0;
	}
	ret = confine_below_root(version);
	if (ret == 0)
		ret = nothing_fd = make_ruleset(&nothing, 1);
	return ret < 0 ? error_set_errno(err, ret, "cannot confine the process by Landlock") : 0;
}

int landlock_confine_to_nothing(struct error *err)
{
	int ret = nothing_fd < 0 ? 0 : restrict_self(nothing_fd);

	return ret < 0 ? error_set_errno(err, ret, "cannot confine a thread by Landlock") : 0;
}
