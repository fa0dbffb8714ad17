#include "vmm/vcpu.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/thread.h"
#include "vmm/vcpu_priv.h"

#define AWAKE_NS 500000u /* a restore is over by then */

/* The thread ------------------------------------------------------------------------------------*/

static void ignore_kick(int signal)
{
	(void)signal;
}

void vcpu_setup_kick_signal(void)
{
	/* A handler, not SIG_IGN: an ignored signal does not interrupt KVM_RUN. */
	struct sigaction action = { .sa_handler = ignore_kick };

	sigaction(vcpu_kick_signal(), &action, NULL);
}

static void allow_kick(void)
{
	sigset_t kick;

	sigemptyset(&kick);
	sigaddset(&kick, vcpu_kick_signal());
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
}

static void wait_for(sem_t *sem)
{
	while (sem_wait(sem) < 0)
		; /* EINTR: a kick */
}

static void wait_awake(const struct vcpu *vcpu, sem_t *sem)
{
	while (clock_now_ns(CLOCK_MONOTONIC) < vcpu->awake_until) {
		if (sem_trywait(sem) == 0)
			return;
		sched_yield();
	}
	wait_for(sem);
}

/* As much stack as a load needs is there before one is asked for. */
static __attribute__((noinline)) void warm_stack(void)
{
	volatile uint8_t room[KIB(12)];

	for (size_t at = 0; at < sizeof(room); at += PAGE_SIZE)
		room[at] = 0;
}

/* What depends on the host alone, then, once there is a VM, the vCPU itself. */
static int make(struct vcpu *vcpu, struct error *err)
{
	struct cpuid
		cpuid; /* not malloc's, which could fail: machine_adopt() waits for what comes next */
	int ret = cpuid_source_get(vcpu->host->cpuid, vcpu->index, &cpuid, err);

	wait_for(&vcpu->create);
	if (ret < 0 || atomic_load_explicit(&vcpu->stop, memory_order_acquire))
		return ret;
	if (vcpu->host->ahead)
		warm_stack();
	ret = vcpu_setup(vcpu, &cpuid, err);
	/* Here, beside the making of the rest, it costs the start no time. */
	return ret < 0 ? ret : thread_arm(THREAD_VCPU, err);
}

/* With the lock held on entry and exit: a moment has gone by, without a sleep; false: it is time to sleep. */
static bool stays_awake(struct vcpu *vcpu)
{
	if (clock_now_ns(CLOCK_MONOTONIC) >= vcpu->awake_until)
		return false;
	pthread_mutex_unlock(&vcpu->lock);
	sched_yield(); /* to whom it waits for, should that share its processor */
	pthread_mutex_lock(&vcpu->lock);
	return true;
}

/* Under the lock, which it lets go of meanwhile. */
static void do_task(struct vcpu *vcpu)
{
	pthread_mutex_unlock(&vcpu->lock);
	vcpu->task_result = vcpu->task(vcpu, vcpu->task_arg, vcpu->task_error);
	pthread_mutex_lock(&vcpu->lock);
	vcpu->task = NULL;
	pthread_cond_broadcast(&vcpu->changed);
}

static bool is_to_stop(struct vcpu *vcpu)
{
	return atomic_load_explicit(&vcpu->stop, memory_order_acquire);
}

/* A guest that was away must not take the gap for a lockup of its own. Guests without kvmclock, and
 * kernels without the call, have nothing to be told. */
static void tell_of_pause(struct vcpu *vcpu)
{
	if (vcpu->has_run && ioctl(vcpu->fd, KVM_KVMCLOCK_CTRL, 0) < 0)
		vcpu_count(&vcpu->pauses_untold);
}

/* Parked until it may run; false: it is to end. */
static bool wait_to_run(struct vcpu *vcpu)
{
	bool may_run;

	pthread_mutex_lock(&vcpu->lock);
	vcpu->parked = true;
	pthread_cond_broadcast(&vcpu->changed);
	while ((vcpu->pause || vcpu->task) && !is_to_stop(vcpu)) {
		if (vcpu->task)
			do_task(vcpu);
		else if (!stays_awake(vcpu))
			pthread_cond_wait(&vcpu->changed, &vcpu->lock);
	}
	may_run = !is_to_stop(vcpu);
	if (may_run) {
		vcpu->parked = false;
		/* Under the lock, so that it cannot undo what a pause or a stop to come sets. */
		__atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_RELEASE);
		tell_of_pause(vcpu);
	}
	pthread_mutex_unlock(&vcpu->lock);
	return may_run;
}

static bool is_wanted(struct vcpu *vcpu)
{
	return atomic_load_explicit(&vcpu->pause, memory_order_acquire) || is_to_stop(vcpu);
}

/* Whatever KVM says of memory that is not there: first see whether it can be again. */
static enum machine_end enter(struct vcpu *vcpu, char *text, size_t size)
{
	const enum machine_end end = vcpu_enter(vcpu, text, size);

	if (end == MACHINE_MEMORY_LOST || end == MACHINE_KVM_ERROR)
		vcpu_count(&vcpu->failures);
	if ((end == MACHINE_MEMORY_LOST || end == MACHINE_KVM_ERROR) &&
	    vcpu->host->repair(vcpu->host->opaque, &vcpu->repairs_seen))
		return MACHINE_RUNNING;
	return end;
}

/* In the guest and out of it, until the machine ends (what by, it returns) or the vCPU is stopped. */
static enum machine_end run(struct vcpu *vcpu, char *text, size_t size)
{
	enum machine_end end = MACHINE_RUNNING;

	while (end == MACHINE_RUNNING) {
		while (end == MACHINE_RUNNING && !is_wanted(vcpu))
			end = enter(vcpu, text, size);
		if (is_to_stop(vcpu)) /* the guest does nothing any more */
			break;
		if (end == MACHINE_RUNNING)
			end = vcpu_settle(vcpu, text, size);
		if (end == MACHINE_RUNNING && !wait_to_run(vcpu))
			break;
	}
	return end;
}

/* A task: its own errors, since the machine's start does not wait for it. */
static int take_boot_state(struct vcpu *vcpu, void *boot, struct error *unused)
{
	struct error err = { 0 };

	(void)unused;
	if (vcpu_set_boot_state(vcpu, boot, &err) < 0)
		vcpu->host->ended(vcpu->host->opaque, MACHINE_KVM_ERROR, err.text);
	return 0;
}

static void live(struct vcpu *vcpu)
{
	int ret = make(vcpu, &vcpu->error);
	enum machine_end end;
	char text[1536];

	sem_post(&vcpu->ready);
	if (ret < 0 || is_to_stop(vcpu) || !wait_to_run(vcpu))
		return;
	if (vcpu->host->first_run)
		vcpu->host->first_run(vcpu->host->opaque);
	vcpu->has_run = true;
	end = run(vcpu, text, sizeof(text));
	if (end != MACHINE_RUNNING)
		vcpu->host->ended(vcpu->host->opaque, end, text);
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;

	allow_kick();
	live(vcpu);
	pthread_mutex_lock(&vcpu->lock);
	vcpu->parked = vcpu->ended = true;
	pthread_cond_broadcast(&vcpu->changed);
	pthread_mutex_unlock(&vcpu->lock);
	return NULL;
}

/* For the machine -------------------------------------------------------------------------------*/

int vcpu_start(struct vcpu *vcpu, unsigned int index, const struct vcpu_host *host,
	       struct error *err)
{
	char name[16];
	int ret;

	*vcpu = (struct vcpu){ .fd = -1, .index = index, .host = host, .pause = true };
	sem_init(&vcpu->create, 0, 0);
	sem_init(&vcpu->ready, 0, 0);
	pthread_mutex_init(&vcpu->lock, NULL);
	pthread_cond_init(&vcpu->changed, NULL);
	/* The name that Firecracker's users pin and account by. */
	snprintf(name, sizeof(name), "fc_vcpu %u", index);
	ret = thread_start(&vcpu->thread, name, vcpu_thread, vcpu);
	if (ret < 0)
		return error_set_errno(err, ret, "vCPU %u: cannot start its thread", index);
	vcpu->has_thread = true;
	return 0;
}

void vcpu_create(struct vcpu *vcpu)
{
	sem_post(&vcpu->create);
}

int vcpu_wait_ready(struct vcpu *vcpu, struct error *err)
{
	if (!vcpu->has_answered)
		wait_awake(vcpu, &vcpu->ready);
	vcpu->has_answered = true;
	if (vcpu->error.code < 0)
		*err = vcpu->error;
	return vcpu->error.code;
}

void vcpu_set_boot(struct vcpu *vcpu, struct boot_cpu *boot)
{
	vcpu_start_task(vcpu, take_boot_state, boot, NULL);
}

void vcpu_run(struct vcpu *vcpu)
{
	pthread_mutex_lock(&vcpu->lock);
	atomic_store_explicit(&vcpu->pause, false, memory_order_release);
	pthread_cond_broadcast(&vcpu->changed);
	pthread_mutex_unlock(&vcpu->lock);
}

/* Out of wherever it is, once `stop` or `pause` says why. immediate_exit closes the window between the
 * thread's look at those and its entry into KVM_RUN; the signal brings it out of there. */
static void fetch(struct vcpu *vcpu)
{
	if (vcpu->run)
		__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_RELEASE);
	pthread_cond_broadcast(&vcpu->changed);
	pthread_kill(vcpu->thread, vcpu_kick_signal());
}

void vcpu_ask_pause(struct vcpu *vcpu)
{
	pthread_mutex_lock(&vcpu->lock);
	atomic_store_explicit(&vcpu->pause, true, memory_order_release);
	if (!vcpu->parked)
		fetch(vcpu);
	pthread_mutex_unlock(&vcpu->lock);
}

void vcpu_wait_paused(struct vcpu *vcpu)
{
	pthread_mutex_lock(&vcpu->lock);
	while (!vcpu->parked)
		pthread_cond_wait(&vcpu->changed, &vcpu->lock);
	pthread_mutex_unlock(&vcpu->lock);
}

void vcpu_start_task(struct vcpu *vcpu, vcpu_task *task, void *arg, struct error *err)
{
	pthread_mutex_lock(&vcpu->lock);
	while (vcpu->task && !vcpu->ended) /* the one before, that nobody waited for */
		pthread_cond_wait(&vcpu->changed, &vcpu->lock);
	vcpu->task = task;
	vcpu->task_arg = arg;
	vcpu->task_error = err;
	vcpu->task_result = -ECANCELED;
	pthread_cond_broadcast(&vcpu->changed);
	pthread_mutex_unlock(&vcpu->lock);
}

int vcpu_wait_task(struct vcpu *vcpu)
{
	pthread_mutex_lock(&vcpu->lock);
	while (vcpu->task && !vcpu->ended)
		if (!stays_awake(vcpu))
			pthread_cond_wait(&vcpu->changed, &vcpu->lock);
	vcpu->task = NULL;
	pthread_mutex_unlock(&vcpu->lock);
	if (vcpu->task_result == -ECANCELED)
		return error_set(vcpu->task_error, ECANCELED, "vCPU %u: the machine has ended",
				 vcpu->index);
	return vcpu->task_result;
}

void vcpu_keep_awake(struct vcpu *vcpu)
{
	pthread_mutex_lock(&vcpu->lock);
	vcpu->awake_until = clock_now_ns(CLOCK_MONOTONIC) + AWAKE_NS;
	pthread_mutex_unlock(&vcpu->lock);
	/* It may take this thread's processor at once, and is not to find the lock held there. */
	pthread_cond_broadcast(&vcpu->changed);
}

/* Whatever it waits for, it is let go and finds `stop`. */
void vcpu_stop(struct vcpu *vcpu)
{
	struct error ignored = { 0 };

	if (!vcpu->has_thread)
		return;
	atomic_store_explicit(&vcpu->stop, true, memory_order_release);
	sem_post(&vcpu->create);
	if (vcpu_wait_ready(vcpu, &ignored) < 0)
		return; /* its thread has ended */
	pthread_mutex_lock(&vcpu->lock);
	fetch(vcpu);
	pthread_mutex_unlock(&vcpu->lock);
}

void vcpu_join(struct vcpu *vcpu)
{
	if (!vcpu->has_thread)
		return;
	pthread_join(vcpu->thread, NULL);
	vcpu->has_thread = false;
}

void vcpu_destroy(struct vcpu *vcpu)
{
	if (vcpu->run)
		munmap(vcpu->run, vcpu->host->kvm->run_size);
	close_fd(&vcpu->fd);
	sem_destroy(&vcpu->create);
	sem_destroy(&vcpu->ready);
	pthread_cond_destroy(&vcpu->changed);
	pthread_mutex_destroy(&vcpu->lock);
}
