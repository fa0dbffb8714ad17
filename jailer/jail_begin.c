/* Steps that touch only the process itself: descriptors, environment, the program, limits. */
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jailer/jail_priv.h"

/* A stream that is closed would be one of ours, which --daemonize covers and messages go to. It is closed again when
 * the program is executed. */
static int occupy_streams(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/", O_PATH | O_CLOEXEC) != fd)
			return -1;
	return 0;
}

static int close_inherited(struct jail *jail, struct jail_step *step, struct error *err)
{
	(void)jail;
	(void)step;
	/* UNSHARE: whoever shares the table with us keeps theirs. Older than 5.9 is not supported. */
	if (close_range(STDERR_FILENO + 1, ~0u, CLOSE_RANGE_UNSHARE) < 0 || occupy_streams() < 0)
		return error_set_errno(err, errno, "cannot close inherited descriptors");
	return 0;
}

const struct jail_step_ops jail_close_step = { "descriptors", close_inherited, NULL };

static int clear_environment(struct jail *jail, struct jail_step *step, struct error *err)
{
	(void)jail;
	(void)step;
	if (clearenv() != 0)
		return error_set(err, ENOMEM, "cannot clear the environment");
	return 0;
}

const struct jail_step_ops jail_environment_step = { "environment", clear_environment, NULL };

/* A script would need its interpreter in the jail, and a descriptor that stays open. */
static int check_elf(int dir_fd, const char *path, struct error *err)
{
	int fd cleanup_fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
	char magic[4] = { 0 };

	if (fd < 0)
		return error_set_errno(err, errno, "--exec-file: cannot read %s", path);
	if (read(fd, magic, sizeof(magic)) != sizeof(magic) || memcmp(magic, "\177ELF", 4) != 0)
		return error_set(err, ENOEXEC, "--exec-file: %s is not an ELF program", path);
	return 0;
}

static int open_program(struct jail *jail, struct jail_step *step, struct error *err)
{
	struct stat info;

	jail->program = open(step->object, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (jail->program < 0 || fstat(jail->program, &info) < 0)
		return error_set_errno(err, errno, "--exec-file: cannot open %s", step->object);
	if (!S_ISREG(info.st_mode) || !(info.st_mode & 0111))
		return error_set(err, EACCES, "--exec-file: %s is not an executable file",
				 step->object);
	return check_elf(AT_FDCWD, step->object, err);
}

const struct jail_step_ops jail_program_step = { "program", open_program, NULL };

static int set_limit(struct jail *jail, struct jail_step *step, struct error *err)
{
	const struct rlimit limit = { step->number, step->number };
	int which = step->object[0] == 'n'   ? RLIMIT_NOFILE
		    : step->object[0] == 'f' ? RLIMIT_FSIZE
					     : RLIMIT_CORE;

	(void)jail;
	if (setrlimit((__rlimit_resource_t)which, &limit) < 0)
		return error_set_errno(err, errno, "cannot limit %s to %lu", step->object,
				       step->number);
	return 0;
}

const struct jail_step_ops jail_limit_step = { "limit", set_limit, NULL };
