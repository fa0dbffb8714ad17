/*
 * What armed threads ask of the kernel, of those threads that descend from the witness. One is armed, and of which
 * kind, when it installs a filter as long as that kind's (kinds, where two are as long); the threads that it starts
 * are too.
 */
#include <asm/ptrace.h>
#include <asm/unistd.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "tests/jail/witness.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct witness_config);
} config SEC(".maps");

/* Kinds, a bit each; 0 until it is armed. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WITNESS_THREADS_MAX);
	__type(key, __u32);
	__type(value, __u32);
} threads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WITNESS_SEEN_MAX);
	__type(key, struct witness_call);
	__type(value, __u8);
} seen SEC(".maps");

/* The kernel's, as much of it as is used. */
struct task_struct {
	int pid;
} __attribute__((preserve_access_index));

/* The attacker of the tests has the filters too, but no reason for what it calls. */
static int is_attacker(void)
{
	char name[16];

	return bpf_get_current_comm(name, sizeof(name)) == 0 && name[0] == 'a' && name[1] == 't' &&
	       name[2] == 't' && name[3] == 'a' && name[4] == 'c' && name[5] == 'k';
}

static void arm(const struct witness_config *now, __u32 *kinds, const void *program)
{
	__u16 length;

	if (bpf_probe_read_user(&length, sizeof(length), program) < 0 || is_attacker())
		return;
	for (int i = 0; i < WITNESS_KINDS; i++)
		if (length == now->lengths[i])
			*kinds |= 1u << i;
}

static void note(const struct witness_config *now, __u32 kinds, __u32 number,
		 const struct pt_regs *regs)
{
	struct witness_call call = { .kinds = kinds, .number = number };
	__u8 yes = 1, wanted;

	if (number >= WITNESS_CALLS)
		return;
	wanted = now->arguments[number];
	call.arguments[0] = wanted & 1 ? regs->rdi : 0;
	call.arguments[1] = wanted & 2 ? regs->rsi : 0;
	call.arguments[2] = wanted & 4 ? regs->rdx : 0;
	call.arguments[3] = wanted & 8 ? regs->r10 : 0;
	call.arguments[4] = wanted & 16 ? regs->r8 : 0;
	call.arguments[5] = wanted & 32 ? regs->r9 : 0;
	if (!bpf_map_lookup_elem(&seen, &call))
		bpf_map_update_elem(&seen, &call, &yes, BPF_ANY);
}

SEC("raw_tp/sys_enter")
int enter(struct bpf_raw_tracepoint_args *args)
{
	__u32 thread = (__u32)bpf_get_current_pid_tgid(), index = 0;
	__u32 number = (__u32)args->args[1];
	const struct witness_config *now = bpf_map_lookup_elem(&config, &index);
	__u32 *kinds = bpf_map_lookup_elem(&threads, &thread);
	struct pt_regs regs;

	if (!now || !kinds || (!*kinds && number != __NR_seccomp))
		return 0;
	if (bpf_probe_read_kernel(&regs, sizeof(regs), (const void *)args->args[0]) < 0)
		return 0;
	if (*kinds)
		note(now, *kinds, number, &regs);
	if (number == __NR_seccomp && regs.rdi == SECCOMP_SET_MODE_FILTER)
		arm(now, kinds, (const void *)regs.rdx);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(start, struct task_struct *parent, struct task_struct *child)
{
	__u32 from = (__u32)parent->pid, to = (__u32)child->pid;
	__u32 *kinds = bpf_map_lookup_elem(&threads, &from);

	if (kinds)
		bpf_map_update_elem(&threads, &to, kinds, BPF_ANY);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(end, struct task_struct *task)
{
	__u32 thread = (__u32)task->pid;

	bpf_map_delete_elem(&threads, &thread);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
