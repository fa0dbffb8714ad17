/* At build: the policy that is built in, compiled, as C arrays on standard output; and the names of all system
 * calls, for the message about a forbidden one. */
#include <seccomp.h>
#include <stdio.h>
#include <string.h>

#include "jailer/seccomp_compile.h"

#define SYSCALLS 600 /* more than there are */
#define POLICY_MAX KIB(256)

static int print_filter(const struct seccomp_list *list, const char *name, struct error *err)
{
	struct sock_filter *filter;
	unsigned int count;
	int ret = seccomp_compile(list, &filter, &count, err);

	if (ret < 0)
		return ret;
	printf("static const struct sock_filter builtin_%s[] = {\n", name);
	for (unsigned int i = 0; i < count; i++)
		printf("\t{ 0x%02x, %u, %u, 0x%08x },\n", filter[i].code, filter[i].jt,
		       filter[i].jf, filter[i].k);
	printf("};\n\n");
	free(filter);
	return 0;
}

static void print_names(void)
{
	printf("static const char *const syscall_names[] = {\n");
	for (int number = 0; number < SYSCALLS; number++) {
		char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);

		if (name)
			printf("\t[%d] = \"%s\",\n", number, name);
		free(name);
	}
	printf("};\n");
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "control", "io", "vcpu" };
	static char text[POLICY_MAX];
	struct seccomp_policy policy;
	struct error err = { 0 };
	size_t len;
	int ret;

	if (argc != 2)
		return 2;
	len = fread(text, 1, sizeof(text), stdin);
	ret = seccomp_policy_parse(&policy, argv[1], text, len, &err);
	for (int kind = 0; kind < THREAD_KINDS && ret == 0; kind++)
		ret = print_filter(&policy.kinds[kind], names[kind], &err);
	seccomp_policy_free(&policy);
	if (ret < 0) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	print_names();
	return 0;
}
