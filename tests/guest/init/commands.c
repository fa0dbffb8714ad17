/* The built-in commands: what tests ask of a guest without needing any program in it. */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int do_args(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		printf("[%s]\n", argv[i]);
	return 0;
}

static int do_cpus(int argc, char **argv)
{
	(void)argc, (void)argv;
	printf("cpus: %ld\n", sysconf(_SC_NPROCESSORS_ONLN));
	return 0;
}

static int do_mem(int argc, char **argv)
{
	char line[128];
	unsigned long kb;

	(void)argc, (void)argv;
	if (!read_line("/proc/meminfo", line, sizeof(line)) ||
	    sscanf(line, "MemTotal: %lu", &kb) != 1)
		return fail("cannot read /proc/meminfo");
	printf("mem: %lu kB\n", kb);
	return 0;
}

static int do_timing(int argc, char **argv)
{
	char line[64];

	(void)argc, (void)argv;
	if (!read_line("/proc/uptime", line, sizeof(line)))
		return fail("cannot read /proc/uptime");
	printf("uptime: %.*s\n", (int)strcspn(line, " "), line);
	return 0;
}

static int do_blk_id(int argc, char **argv)
{
	char path[128], serial[64];
	const char *name = argv[1];

	(void)argc;
	if (!strncmp(name, "/dev/", 5))
		name += 5;
	snprintf(path, sizeof(path), "/sys/block/%s/serial", name);
	if (!read_line(path, serial, sizeof(serial)))
		return fail("cannot read %s: %s", path, strerror(errno));
	printf("%s: %s\n", name, serial);
	return 0;
}

static int do_rng(int argc, char **argv)
{
	unsigned char bytes[256];
	long left = strtol(argv[1], NULL, 0);
	int fd = open("/dev/hwrng", O_RDONLY | O_CLOEXEC);

	(void)argc;
	if (fd < 0)
		return fail("cannot open /dev/hwrng: %s", strerror(errno));
	fputs("rng: ", stdout);
	while (left > 0) {
		ssize_t n = read(fd, bytes, left < 256 ? (size_t)left : 256);

		if (n <= 0)
			break;
		for (ssize_t i = 0; i < n; i++)
			printf("%02x", bytes[i]);
		left -= n;
	}
	putchar('\n');
	close(fd);
	return left > 0 ? fail("/dev/hwrng ended early: %s", strerror(errno)) : 0;
}

static int do_echo_stdin(int argc, char **argv)
{
	char line[1024];

	(void)argc, (void)argv;
	puts("ready");
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\r\n")] = '\0';
		if (!strcmp(line, "quit"))
			break;
		printf("got:%s\n", line);
	}
	return 0;
}

static int do_sleep(int argc, char **argv)
{
	(void)argc;
	usleep((useconds_t)(strtod(argv[1], NULL) * 1e6));
	return 0;
}

static int do_idle(int argc, char **argv)
{
	(void)argc, (void)argv;
	for (;;)
		pause();
	return 0;
}

/* @poweroff, @reboot, @halt, @panic: the ends MAYFLY_END knows, at once. */
static int do_end(int argc, char **argv)
{
	(void)argc;
	end_machine(argv[0] + 1);
}

static const struct {
	const char *name;
	int min_args;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "@args", 0, do_args },
	{ "@blk-id", 1, do_blk_id },
	{ "@cpus", 0, do_cpus },
	{ "@echo-stdin", 0, do_echo_stdin },
	{ "@halt", 0, do_end },
	{ "@idle", 0, do_idle },
	{ "@mem", 0, do_mem },
	{ "@net-echo", 1, run_net_echo },
	{ "@net-frames", 2, run_net_frames },
	{ "@net-send", 3, run_net_send },
	{ "@panic", 0, do_end },
	{ "@pattern-check", 3, run_pattern },
	{ "@pattern-write", 3, run_pattern },
	{ "@poweroff", 0, do_end },
	{ "@reboot", 0, do_end },
	{ "@rng", 1, do_rng },
	{ "@sleep", 1, do_sleep },
	{ "@timing", 0, do_timing },
	{ "@write-flush", 3, run_write_flush },
};

int run_builtin(int argc, char **argv)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(argv[0], commands[i].name))
			continue;
		if (argc - 1 < commands[i].min_args)
			return fail("%s: needs %d words", argv[0], commands[i].min_args);
		return commands[i].run(argc, argv);
	}
	return fail("%s: no such command", argv[0]);
}
