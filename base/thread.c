#include "base/thread.h"

#include <signal.h>
#include <stdio.h>

/* Several times what the deepest path, printing a register dump, needs. Sanitizers want more. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_SIZE KIB(1024)
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define STACK_SIZE KIB(1024)
#endif
#endif
#ifndef STACK_SIZE
#define STACK_SIZE KIB(64)
#endif

static int (*guard)(enum thread_kind kind, struct error *err);
static _Thread_local char own_name[16] = "main";
static _Thread_local bool armed;

const char *thread_name(void)
{
	return own_name;
}

void thread_set_guard(int (*new_guard)(enum thread_kind kind, struct error *err))
{
	guard = new_guard;
}

int thread_arm(enum thread_kind kind, struct error *err)
{
	int ret = armed || !guard ? 0 : guard(kind, err);

	armed = armed || ret == 0;
	return ret;
}

static void crash_signals_only(sigset_t *old)
{
	static const int crash[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP };
	sigset_t mask;

	sigfillset(&mask);
	for (size_t i = 0; i < ARRAY_SIZE(crash); i++)
		sigdelset(&mask, crash[i]);
	pthread_sigmask(SIG_SETMASK, &mask, old);
}

struct start {
	char name[16];
	bool armed; /* by its creator's guard */
	void *(*run)(void *);
	void *arg;
};

/* The thread names itself: from outside that goes through /proc, which a jail does not have. */
static void *named_thread(void *arg)
{
	struct start start = *(struct start *)arg;

	free(arg);
	armed = start.armed;
	memcpy(own_name, start.name, sizeof(own_name));
	pthread_setname_np(pthread_self(), start.name);
	return start.run(start.arg);
}

int thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg)
{
	struct start *start = malloc(sizeof(*start));
	pthread_attr_t attr;
	sigset_t old;
	int ret;

	if (!start)
		return -ENOMEM;
	*start = (struct start){ .run = run, .arg = arg, .armed = armed };
	snprintf(start->name, sizeof(start->name), "%s", name);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	/* A thread inherits its creator's mask: changed around the creation, no signal slips in. */
	crash_signals_only(&old);
	ret = pthread_create(thread, &attr, named_thread, start);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (ret)
		free(start);
	return -ret;
}

void thread_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}
