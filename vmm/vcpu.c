#include "vmm/vcpu.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/thread.h"
#include "vmm/vcpu_priv.h"

/* The thread ------------------------------------------------------------------------------------*/

static int kick_signal(void)
{
	return SIGRTMIN;
}

static void ignore_kick(int signal)
{
	(void)signal;
}

void vcpu_setup_kick_signal(void)
{
	/* A handler, not SIG_IGN: an ignored signal does not interrupt KVM_RUN. */
	struct sigaction action = { .sa_handler = ignore_kick };

	sigaction(kick_signal(), &action, NULL);
}

static void allow_kick(void)
{
	sigset_t kick;

	sigemptyset(&kick);
	sigaddset(&kick, kick_signal());
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
}

static void wait_for(sem_t *sem)
{
	while (sem_wait(sem) < 0)
		; /* EINTR: a kick */
}

/* What depends on the host alone, then, once there is a VM, the vCPU itself. */
static int make(struct vcpu *vcpu, struct error *err)
{
	struct cpuid *cpuid cleanup_free = malloc(sizeof(*cpuid));
	int ret;

	if (!cpuid)
		return error_set(err, ENOMEM, "vCPU %u: out of memory", vcpu->index);
	ret = cpuid_source_get(vcpu->host->cpuid, vcpu->index, cpuid, err);
	wait_for(&vcpu->create);
	if (ret < 0 || atomic_load_explicit(&vcpu->stop, memory_order_acquire))
		return ret;
	return vcpu_setup(vcpu, cpuid, err);
}

/* Returns when the machine is put together around the vCPU, or with false if that will not be. */
static bool get_ready(struct vcpu *vcpu)
{
	int ret = make(vcpu, &vcpu->error);

	sem_post(&vcpu->ready);
	if (ret < 0)
		return false;
	wait_for(&vcpu->go);
	return !atomic_load_explicit(&vcpu->stop, memory_order_acquire);
}

static enum machine_end run(struct vcpu *vcpu, char *text, size_t size)
{
	enum machine_end end = MACHINE_RUNNING;

	while (end == MACHINE_RUNNING && !atomic_load_explicit(&vcpu->stop, memory_order_acquire))
		end = vcpu_enter(vcpu, text, size);
	return end;
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;
	enum machine_end end = MACHINE_RUNNING;
	struct error err = { 0 };
	char text[1536];

	allow_kick();
	if (!get_ready(vcpu))
		return NULL;
	if (vcpu->boot && vcpu_set_boot_state(vcpu, vcpu->boot, &err) < 0) {
		vcpu->host->ended(vcpu->host->opaque, MACHINE_KVM_ERROR, err.text);
		return NULL;
	}
	if (vcpu->host->first_run)
		vcpu->host->first_run(vcpu->host->opaque);
	end = run(vcpu, text, sizeof(text));
	if (end != MACHINE_RUNNING)
		vcpu->host->ended(vcpu->host->opaque, end, text);
	return NULL;
}

/* For the machine -------------------------------------------------------------------------------*/

int vcpu_start(struct vcpu *vcpu, unsigned int index, const struct vcpu_host *host,
	       struct error *err)
{
	char name[16];
	int ret;

	*vcpu = (struct vcpu){ .fd = -1, .index = index, .host = host };
	sem_init(&vcpu->create, 0, 0);
	sem_init(&vcpu->ready, 0, 0);
	sem_init(&vcpu->go, 0, 0);
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
		wait_for(&vcpu->ready);
	vcpu->has_answered = true;
	if (vcpu->error.code < 0)
		*err = vcpu->error;
	return vcpu->error.code;
}

void vcpu_run(struct vcpu *vcpu, const struct boot_cpu *boot)
{
	vcpu->boot = boot;
	sem_post(&vcpu->go);
}

/* Whatever it waits for, it is let go and finds `stop`. immediate_exit closes the window between the
 * thread's look at that and its entry into KVM_RUN; the signal brings it out of there. */
void vcpu_stop(struct vcpu *vcpu)
{
	struct error ignored = { 0 };

	if (!vcpu->has_thread)
		return;
	atomic_store_explicit(&vcpu->stop, true, memory_order_release);
	sem_post(&vcpu->create);
	if (vcpu_wait_ready(vcpu, &ignored) < 0)
		return; /* its thread has ended */
	if (vcpu->run)
		__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_RELEASE);
	sem_post(&vcpu->go);
	pthread_kill(vcpu->thread, kick_signal());
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
	sem_destroy(&vcpu->go);
}
