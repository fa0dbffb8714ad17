/*
 * Stands where a test expects the monitor: it becomes the monitor in a jail, which finds the folders that the test
 * uses where they are outside, so that no test need know. What runs no machine (`mayfly snapshot`, `--version`) is not
 * jailed. Its mounts are its own, and it stays one process, with the number, streams, terminal and signals of a monitor.
 *
 * Environment:
 *   JAILED_PROGRAM   the monitor; its jailer lies beside it
 *   JAILED_BASE      a folder of a process's jail each, which whoever made it cleans up
 *   JAILED_READ      folders to read, and
 *   JAILED_WRITE     to write, between colons; beside them the working directory, and the folder of the API's socket
 *   JAILED_OPTIONS   more of the jailer's options, between spaces
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"

#define NO_FILE_MAX (1u << 20) /* the jailer's */
#define ID_MAX 64

static const char *arguments[4096];
static unsigned int count;
static char base[512], root[1024]; /* of the jail */

static void fail(const char *what, const char *object)
{
	fprintf(stderr, "jailed: %s %s: %s\n", what, object, strerrordesc_np(errno));
	_exit(125);
}

static const char *variable(const char *name)
{
	const char *value = getenv(name);

	return value ? value : "";
}

static void add(const char *word)
{
	if (count + 1 == ARRAY_SIZE(arguments))
		fail("too many words with", word);
	arguments[count++] = word;
}

static const char *join(const char *a, const char *b, const char *c)
{
	char *text;

	if (asprintf(&text, "%s%s%s", a, b, c) < 0)
		fail("no memory for", a);
	return text;
}

/* The monitor's command line -------------------------------------------------------------------*/

static bool runs_a_machine(char **words)
{
	static const char *const tell[] = { "--help", "--version", "--snapshot-version",
					    "--describe-snapshot" };

	if (!*words || (strcmp(*words, "run") != 0 && strncmp(*words, "--", 2) != 0))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(tell); i++)
		if (strncmp(*words, tell[i], strlen(tell[i])) == 0)
			return false;
	return true;
}

/* Of `--NAME VALUE`; NULL: it is not there. */
static char **find_value(char **words, const char *name)
{
	for (; *words && strcmp(*words, "--") != 0; words++)
		if (strcmp(*words, name) == 0 && words[1])
			return words + 1;
	return NULL;
}

/* The jailer tells the monitor its id, so one that the test gave is taken out and becomes the jail's. */
static const char *take_id(char **words)
{
	static char own[ID_MAX + 1];
	char **id = find_value(words, "--id");

	snprintf(own, sizeof(own), "jailed-%d", getpid());
	if (!id || !**id || strlen(*id) > ID_MAX ||
	    (*id)[strspn(*id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")])
		return own;
	snprintf(own, sizeof(own), "%s", *id);
	for (char **at = id - 1; (at[0] = at[2]); at++)
		;
	return own;
}

/* Folders --------------------------------------------------------------------------------------*/

static void make_folders(char *path)
{
	for (char *slash = path + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		mkdir(path, 0755);
		*slash = '/';
	}
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		fail("cannot make", path);
}

static bool is_below(const char *path, const char *folders)
{
	while (*folders) {
		size_t len = strcspn(folders, ":");

		if (len && strncmp(path, folders, len) == 0 && (path[len] == '/' || !path[len]))
			return true;
		folders += len + (folders[len] == ':');
	}
	return false;
}

static void bind(const char *folder)
{
	char target[2048];

	snprintf(target, sizeof(target), "%s%s", root, folder);
	make_folders(target);
	if (mount(folder, target, NULL, MS_BIND | MS_REC, NULL) < 0)
		fail("cannot bind", folder);
}

/* One that is not there is for the monitor to refuse. */
static void bind_own(const char *folder)
{
	struct stat info;

	if (*folder == '/' && folder[1] && stat(folder, &info) == 0 && S_ISDIR(info.st_mode) &&
	    !is_below(folder, variable("JAILED_READ")) &&
	    !is_below(folder, variable("JAILED_WRITE")))
		bind(folder);
}

static void bind_all(char **words)
{
	char *folders = strdup(variable("JAILED_WRITE")), *here = getcwd(NULL, 0);
	char **sock = find_value(words, "--api-sock"), *folder = sock ? strdup(*sock) : NULL;

	for (char *one; (one = strsep(&folders, ":"));)
		bind(one);
	if (folder && strrchr(folder, '/'))
		*strrchr(folder, '/') = '\0';
	if (folder)
		bind_own(folder);
	if (here && (!folder || strcmp(here, folder) != 0))
		bind_own(here);
}

/* The jail -------------------------------------------------------------------------------------*/

static void add_options(const char *id)
{
	struct rlimit files = { 0 };
	char *number, *folders = strdup(variable("JAILED_READ"));
	char *options = strdup(variable("JAILED_OPTIONS"));

	getrlimit(RLIMIT_NOFILE, &files);
	if (asprintf(&number, "no-file=%lu", MIN(files.rlim_max, (rlim_t)NO_FILE_MAX)) < 0)
		fail("no memory for", id);
	add(join(variable("JAILED_PROGRAM"), "-jailer", ""));
	add("--id"), add(id);
	add("--exec-file"), add(variable("JAILED_PROGRAM"));
	add("--uid"), add("0"), add("--gid"), add("0"); /* root, but of nothing outside */
	add("--chroot-base-dir"), add(base);
	add("--resource-limit"), add(number);
	for (char *one; (one = strsep(&folders, ":"));)
		add("--bind-ro"), add(join(one, ":", one));
	for (char *one; (one = strsep(&options, " "));)
		if (*one)
			add(one);
	add("--");
}

int main(int argc, char **argv)
{
	const char *program = variable("JAILED_PROGRAM"), *id;

	(void)argc;
	if (!runs_a_machine(argv + 1)) {
		execv(program, argv);
		fail("cannot execute", program);
	}
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		fail("no mounts of its own for", program);
	id = take_id(argv + 1);
	snprintf(base, sizeof(base), "%s/%d", variable("JAILED_BASE"), getpid());
	snprintf(root, sizeof(root), "%s/%s/%s/root", base, strrchr(program, '/') + 1, id);
	bind_all(argv + 1);
	add_options(id);
	for (char **word = argv + 1; *word; word++)
		add(*word);
	execv(arguments[0], (char *const *)(uintptr_t)arguments);
	fail("cannot execute", arguments[0]);
}
