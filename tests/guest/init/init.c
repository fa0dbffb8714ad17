/*
 * The guest's first process, for tests, benches and the demo: /init of the initramfs images and
 * /sbin/init of the root filesystem. Runs the words it was given, then ends the machine.
 * README.md of tests/guest lists the built-in commands and the variables.
 */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define BOOT_TIMER_ADDRESS 0xc0000000
#define BOOT_TIMER_STARTED 123

int fail(const char *format, ...)
{
	va_list args;

	fputs("init: ", stdout);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	return 1;
}

_Bool read_line(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

	if (fd >= 0)
		close(fd);
	if (n < 0)
		return 0;
	buf[n] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	return 1;
}

static void mount_one(const char *type, const char *dir, const char *options)
{
	struct stat parent, here;

	mkdir(dir, 0755); /* fails on a read-only root, where it exists */
	if (stat(dir, &here) || stat("/", &parent))
		return;
	/* A mount point is on another device than what it lies in; /dev/pts and /dev/shm lie in /dev. */
	if (!strncmp(dir, "/dev/", 5) && stat("/dev", &parent))
		return;
	if (here.st_dev == parent.st_dev && mount(type, dir, type, MS_NOSUID, options))
		fail("cannot mount %s: %s", dir, strerror(errno));
}

void mount_basics(void)
{
	mount_one("proc", "/proc", NULL);
	mount_one("sysfs", "/sys", NULL);
	mount_one("devtmpfs", "/dev", "mode=0755");
	mount_one("devpts", "/dev/pts", "mode=0620,ptmxmode=0666");
	mount_one("tmpfs", "/dev/shm", "mode=1777");
	mount_one("tmpfs", "/tmp", "mode=1777");
	mount_one("tmpfs", "/run", "mode=0755");
}

static void set_up_system(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (s >= 0) {
		ioctl(s, SIOCSIFFLAGS, &lo);
		close(s);
	}
	sethostname("mayfly", 6);
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
}

/* Init leads the session that has the console as its terminal, and never leaves it: when a leader
 * exits, the kernel hangs the terminal up and drops what it has not sent yet. */
static void take_terminal(void)
{
	setsid();
	ioctl(0, TIOCSCTTY, 1);
	signal(SIGTTOU, SIG_IGN); /* it may pass the terminal on, and write, while it is another's */
}

/* In the child: a foreground process group of its own, so that Ctrl-C ends it and all it started. */
static _Noreturn void exec_command(char **argv)
{
	sigset_t none;

	setpgid(0, 0);
	tcsetpgrp(0, getpid());
	signal(SIGTTOU, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvp(argv[0], argv);
	fail("cannot run %s: %s", argv[0], strerror(errno));
	fflush(stdout);
	_exit(errno == ENOENT ? 127 : 126);
}

/* Runs a program, reaping whatever else ends meanwhile; returns its status as a shell would. */
static int run_program(char **argv)
{
	int status = 0;
	pid_t child = fork(), pid;

	if (child < 0)
		return fail("cannot fork: %s", strerror(errno));
	if (!child)
		exec_command(argv);
	do
		pid = wait(&status);
	while (pid != child && (pid > 0 || errno == EINTR));
	tcsetpgrp(0, getpgrp());

	if (WIFSIGNALED(status)) {
		fail("command ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
		return 128 + WTERMSIG(status);
	}
	if (WEXITSTATUS(status))
		fail("command exited %d", WEXITSTATUS(status));
	return WEXITSTATUS(status);
}

/* Words that start with a built-in are a sequence, separated by @@, up to the first that fails. */
static void run_sequence(int argc, char **argv)
{
	for (int start = 0; start < argc;) {
		int end = start, status;

		while (end < argc && strcmp(argv[end], "@@"))
			end++;
		argv[end] = NULL; /* argv[argc] is NULL already */
		if (start == end)
			status = 0;
		else if (argv[start][0] == '@')
			status = run_builtin(end - start, argv + start);
		else
			status = run_program(argv + start);
		fflush(stdout);
		if (status)
			return;
		start = end + 1;
	}
}

/* Firecracker's boot timer, where the monitor has one: it learns that init has started. Elsewhere
 * nothing is at that address, and nothing happens. */
static void stop_boot_timer(void)
{
	int fd = open("/dev/mem", O_RDWR | O_SYNC | O_CLOEXEC);
	volatile unsigned char *page;

	if (fd < 0)
		return;
	page = mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, BOOT_TIMER_ADDRESS);
	if (page != MAP_FAILED) {
		*page = BOOT_TIMER_STARTED;
		munmap((void *)(uintptr_t)page, 4096);
	}
	close(fd);
}

_Noreturn void end_machine(const char *how)
{
	fflush(stdout);
	tcdrain(1); /* a restart does not wait for what the serial port still has to send */
	sync();
	if (!strcmp(how, "reboot")) {
		reboot(RB_AUTOBOOT);
	} else if (!strcmp(how, "halt")) {
		reboot((int)RB_HALT_SYSTEM);
	} else if (!strcmp(how, "panic")) {
		int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);

		if (fd >= 0 && write(fd, "c", 1) != 1)
			fail("no sysrq: ending process 1 instead");
		exit(1); /* where there is no sysrq: "Attempted to kill init!" */
	} else {
		if (strcmp(how, "poweroff"))
			fail("MAYFLY_END=%s: not one of poweroff, reboot, halt, panic", how);
		reboot(RB_POWER_OFF);
	}
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	const char *end = getenv("MAYFLY_END"), *mark = getenv("MAYFLY_MARK");
	char *shell[] = { "/bin/sh", NULL };

	/* An initramfs with modules is a step on the way to the root filesystem's init. */
	if (!access(MODULE_LIST, F_OK)) {
		load_modules();
		mount_basics();
		switch_root(argv);
	}
	setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
	if (mark && !strcmp(mark, "1"))
		puts("mayfly-init: started");
	mount_basics();
	stop_boot_timer();
	set_up_system();
	take_terminal();

	if (argc < 2)
		run_program(shell);
	else if (argv[1][0] == '@')
		run_sequence(argc - 1, argv + 1);
	else
		run_program(argv + 1);
	end_machine(end ? end : "poweroff");
}
