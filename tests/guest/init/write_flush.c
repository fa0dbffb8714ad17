/*
 * @write-flush DEV STEPS SEED: what a database does with its log, for tests that cut the power. DEV begins with
 * slots of a block each. Step N (from 1) writes version N into some slots, waits for fdatasync, says
 * "flushed N" and waits for a line. All the while a second process writes into DEV's second half and never
 * syncs, so that flushes meet writes in flight.
 *
 * Every sector of a slot says, in little-endian words: the seed, the version, the sector's number, and a
 * check of these; slot_of() says which slots. tests/e2e/lab_powercut.py knows both.
 */
#define _GNU_SOURCE
#include "init.h"
#include "pattern.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK ((size_t)4096)
#define SECTOR ((size_t)512)
#define SLOTS 32
#define WRITES_PER_STEP 3
#define NOISE_PAUSE_US 10000 /* the log of a test's block device keeps all of it */

struct target {
	int fd;
	uint64_t seed;
	off_t noise; /* where it begins; and how much there is */
	uint64_t *block;
};

static uint64_t slot_of(const struct target *t, uint64_t step, unsigned int write)
{
	return pattern_word(t->seed, step * WRITES_PER_STEP + write) % SLOTS;
}

static int write_slot(struct target *t, uint64_t slot, uint64_t version)
{
	for (size_t i = 0; i < BLOCK / SECTOR; i++) {
		uint64_t *sector = t->block + i * SECTOR / sizeof(*t->block);

		sector[0] = t->seed;
		sector[1] = version;
		sector[2] = slot * (BLOCK / SECTOR) + i;
		sector[3] = pattern_word(t->seed, sector[2] ^ version << 32);
	}
	return pwrite(t->fd, t->block, BLOCK, (off_t)(slot * BLOCK)) == (ssize_t)BLOCK ? 0 : -1;
}

static void make_noise(const struct target *t)
{
	memset(t->block, 0xee, BLOCK);
	for (off_t at = 0;; at = (at + (off_t)BLOCK) % t->noise) {
		if (pwrite(t->fd, t->block, BLOCK, t->noise + at) < 0)
			_exit(1);
		usleep(NOISE_PAUSE_US);
	}
}

static int step(struct target *t, uint64_t number)
{
	char line[16];

	for (unsigned int i = 0; i < WRITES_PER_STEP; i++)
		if (write_slot(t, slot_of(t, number, i), number) < 0)
			return fail("step %lu: cannot write: %s", (unsigned long)number,
				    strerror(errno));
	if (fdatasync(t->fd) < 0)
		return fail("step %lu: cannot flush: %s", (unsigned long)number, strerror(errno));
	printf("flushed %lu\n", (unsigned long)number);
	return fgets(line, sizeof(line), stdin)
		       ? 0
		       : fail("step %lu: no answer", (unsigned long)number);
}

int run_write_flush(int argc, char **argv)
{
	struct target t = { .fd = open(argv[1], O_RDWR | O_DIRECT | O_CLOEXEC),
			    .seed = strtoull(argv[3], NULL, 0) };
	uint64_t steps = strtoull(argv[2], NULL, 0);
	int status = 0;
	pid_t noise;

	(void)argc;
	t.noise = lseek(t.fd, 0, SEEK_END) / 2 & -(off_t)BLOCK;
	if (t.noise < (off_t)(SLOTS * BLOCK))
		return fail("cannot use %s, or it is too small: %s", argv[1], strerror(errno));
	t.block = aligned_alloc(BLOCK, BLOCK);
	if (!t.block)
		return fail("no memory");
	memset(t.block, 0, BLOCK);
	noise = fork();
	if (noise == 0)
		make_noise(&t);
	for (uint64_t number = 1; status == 0 && number <= steps; number++)
		status = step(&t, number);
	kill(noise, SIGKILL);
	waitpid(noise, NULL, 0);
	free(t.block);
	close(t.fd);
	return status;
}
