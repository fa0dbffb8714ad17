/*
 * What API calls cost a drive: its I/O thread on one CPU is busy with 4 KiB reads of a page-cache-hot file over real
 * rings, and the control thread on another serves no calls and 1,000 a second in turn. No guest: what answers the
 * interrupt offers the next batch, as in blk_loops.c.
 *
 *   api_queue FOLDER PAIRS     prints `queue throughput=RATIO processor=RATIO iops=N calls=N`
 *
 * Both ratios are medians of what a slice with calls has of the slice before it without any: requests a second, and
 * requests a second of the I/O thread's processor time, in which what else runs on its CPU does not count. `calls` is
 * how many were answered a second.
 */
#include <err.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "api-socket/server.h"
#include "base/clock.h"
#include "benches/cached_file.h"
#include "benches/stats.h"
#include "tests/fuzz/no_guest.h"
#include "tests/unit/fake_driver.c" /* the library holds no test code */
#include "virtio/virtio_blk.h"

#define DEPTH 32u
#define SLICE_US 100000u
#define CALL_EVERY_US 1000u
#define PAIRS_MAX 1000u

#define HEADERS FAKE_DATA
#define STATUSES 0x9000u

/* The drive --------------------------------------------------------------------------------------*/

static struct fake_driver fake;
static unsigned int in_flight;
static uint32_t random_state = 1;
static atomic_ulong completed;

static void offer_batch(void)
{
	for (unsigned int i = 0; i < DEPTH; i++) {
		struct virtio_blk_outhdr *header = fake_ptr(&fake, HEADERS + i * 16, 16);

		random_state = random_state * 1664525u + 1013904223u;
		header->sector = (uint64_t)((random_state >> 8) % BLOCKS) * (BLOCK / 512);
		fake_offer(&fake, (uint16_t)(i * 3));
	}
	in_flight = DEPTH;
	fake_kick(&fake);
}

/* On the drive's loop. */
static void answered(struct irq_line *line)
{
	struct vring_used_elem elem;

	(void)line;
	while (fake_used(&fake, &elem)) {
		in_flight--;
		atomic_fetch_add_explicit(&completed, 1, memory_order_relaxed);
	}
	if (in_flight == 0)
		offer_batch();
}

/* The index-th CPU that this process may use. */
static void pin(unsigned int index)
{
	static cpu_set_t allowed;
	cpu_set_t one;

	if (CPU_COUNT(&allowed) == 0)
		sched_getaffinity(0, sizeof(allowed), &allowed);
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed) && index-- == 0)
			CPU_SET(cpu, &one);
	if (CPU_COUNT(&one) == 0 || sched_setaffinity(0, sizeof(one), &one) < 0)
		errx(1, "two CPUs are wanted");
}

static clockid_t loop_clock;

static int settle_loop(void *arg)
{
	(void)arg;
	pin(1);
	return pthread_getcpuclockid(pthread_self(), &loop_clock);
}

static void start_drive(int fd)
{
	const struct virtio_blk_params params = { .name = "drive", .fd = fd };
	struct error error;

	fake_init_started(&fake, EVENT_LOOP_URING);
	if (event_loop_call(fake.loop, settle_loop, NULL) != 0)
		errx(1, "no clock of the I/O thread");
	fake.irq.raise = answered;
	if (virtio_blk_create(&fake.dev, &params, &fake.mem, fake.loop, &fake.irq, &error) < 0)
		errx(1, "%s", error.text);
	fake_drive(&fake, 1ull << VIRTIO_BLK_F_FLUSH, 256);
	for (unsigned int i = 0; i < DEPTH; i++) {
		const uint16_t at = (uint16_t)(i * 3);

		fake_desc(&fake, at,
			  (struct vring_desc){ HEADERS + i * 16, 16, VRING_DESC_F_NEXT,
					       (uint16_t)(at + 1) });
		fake_desc(&fake, (uint16_t)(at + 1),
			  (struct vring_desc){ FAKE_HIGH + i * BLOCK, BLOCK,
					       VRING_DESC_F_NEXT | VRING_DESC_F_WRITE,
					       (uint16_t)(at + 2) });
		fake_desc(&fake, (uint16_t)(at + 2),
			  (struct vring_desc){ STATUSES + i, 1, VRING_DESC_F_WRITE, 0 });
	}
	offer_batch();
}

/* The control thread and its client ---------------------------------------------------------------*/

static char path[280];
static atomic_bool calling;
static atomic_ulong calls;

static void *control_thread(void *arg)
{
	struct controller_params params = no_guest_params();
	struct api_server_params serving = { .payload_max = API_PAYLOAD_MAX_DEFAULT };
	struct api_server *server;
	struct event_loop *loop;
	struct error error;

	pin(0);
	if (event_loop_create(&loop, EVENT_LOOP_EPOLL, "control", &error) < 0)
		errx(1, "%s", error.text);
	params.loop = serving.loop = loop;
	if (controller_create(&serving.controller, &params, &error) < 0 ||
	    api_server_create(&server, path, &error) < 0 ||
	    api_server_serve(server, &serving, &error) < 0)
		errx(1, "%s", error.text);
	sem_post(arg);
	event_loop_run(loop);
	return NULL;
}

static void *client_thread(void *arg)
{
	static const char request[] = "GET /machine-config HTTP/1.1\r\n\r\n";
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char answer[2048];

	(void)arg;
	pin(0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", path);
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		err(1, "%s", path);
	for (;;) {
		usleep(CALL_EVERY_US);
		if (!atomic_load(&calling))
			continue;
		if (write(fd, request, sizeof(request) - 1) < 0 ||
		    read(fd, answer, sizeof(answer)) <= 0)
			errx(1, "the server has gone");
		atomic_fetch_add(&calls, 1);
	}
	return NULL;
}

static void start_control(void)
{
	pthread_t thread;
	sem_t ready;

	sem_init(&ready, 0, 0);
	if (pthread_create(&thread, NULL, control_thread, &ready) != 0)
		errx(1, "no thread");
	sem_wait(&ready);
	if (pthread_create(&thread, NULL, client_thread, NULL) != 0)
		errx(1, "no thread");
}

/* Measuring --------------------------------------------------------------------------------------*/

struct slice {
	double wall, processor; /* requests a second of each */
};

static double seconds(clockid_t clock)
{
	return (double)clock_now_ns(clock) / 1e9;
}

static struct slice measure(bool with_calls)
{
	double wall, processor, count;

	atomic_store(&calling, with_calls);
	usleep(SLICE_US / 10);
	count = (double)atomic_load(&completed);
	wall = seconds(CLOCK_MONOTONIC);
	processor = seconds(loop_clock);
	usleep(SLICE_US);
	count = (double)atomic_load(&completed) - count;
	return (struct slice){ count / (seconds(CLOCK_MONOTONIC) - wall),
			       count / (seconds(loop_clock) - processor) };
}

int main(int argc, char *argv[])
{
	const char *folder = argc > 1 ? argv[1] : "/tmp";
	const unsigned int pairs = MIN(argc > 2 ? (unsigned int)strtoul(argv[2], NULL, 10) : 30,
				       PAIRS_MAX);
	static double wall[PAIRS_MAX], processor[PAIRS_MAX], iops[PAIRS_MAX];
	double rate;

	pin(0);
	snprintf(path, sizeof(path), "%s/api_queue.sock", folder);
	unlink(path);
	start_drive(make_cached_file(folder));
	start_control();
	for (unsigned int i = 0; i < pairs; i++) {
		struct slice alone = measure(false), with = measure(true);

		wall[i] = with.wall / alone.wall;
		processor[i] = with.processor / alone.processor;
		iops[i] = alone.wall;
	}
	rate = (double)atomic_load(&calls) / (pairs * SLICE_US * 1.1e-6);
	printf("queue throughput=%.4f processor=%.4f iops=%.0f calls=%.0f\n",
	       stats_of(wall, pairs).p50, stats_of(processor, pairs).p50, stats_of(iops, pairs).p50,
	       rate);
	unlink(path);
	fflush(stdout);
	_exit(0); /* threads that never end */
}
