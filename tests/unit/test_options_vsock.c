/* --vsock and --agent: what they take, and what they refuse in whose words. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "cmd/options.h"
#include "cmd/run_options.h"

static struct run_options options;
static struct error err;

/* The words, cut at spaces. */
static int parse(const char *line)
{
	static char text[256];
	static char *argv[32];
	int argc = 0;

	snprintf(text, sizeof(text), "run %s", line);
	for (char *rest = text, *word; (word = strsep(&rest, " "));)
		argv[argc++] = word;
	argv[argc] = NULL;
	err = (struct error){ 0 };
	return run_options_parse(&options, argc, argv, &err);
}

static void expect_refused(const char *line, const char *because)
{
	cr_expect_eq(parse(line), -EINVAL, "%s", line);
	cr_expect(strstr(err.text, because), "'%s' does not say '%s'", err.text, because);
}

Test(options_vsock, vsock)
{
	cr_assert_eq(parse("--kernel k --vsock /run/v"), 0, "%s", err.text);
	cr_expect(options.vm.has_vsock);
	cr_expect_str_eq(options.vm.vsock.path, "/run/v");
	cr_expect_eq(options.vm.vsock.cid, 3);
	cr_assert_eq(parse("--kernel k --vsock a,,b,cid=4294967294"), 0, "%s", err.text);
	cr_expect_str_eq(options.vm.vsock.path, "a,b");
	cr_expect_eq(options.vm.vsock.cid, UINT32_MAX - 1);
	expect_refused("--kernel k --vsock v,cid=2", "'2' is not a number from 3 to 4294967294");
	expect_refused("--kernel k --vsock v,cid=4294967295", "4294967294");
	expect_refused("--kernel k --vsock v,port=2", "unknown setting 'port'");
	expect_refused("--kernel k --vsock ,cid=3", "the path is empty");
	expect_refused("--kernel k --vsock a --vsock b", "twice");
}

Test(options_vsock, config)
{
	struct vm_config config = { .kernel_path = "k",
				    .vcpus = 1,
				    .memory = VM_MEMORY_DEFAULT,
				    .has_vsock = true,
				    .vsock = { .path = "v", .cid = 3 } };
	char long_path[200];

	cr_expect_eq(vm_config_check(&config, &err), 0);
	config.vsock.cid = 2;
	cr_expect_eq(vm_config_check(&config, &err), -EINVAL);
	config.vsock.cid = 3;
	memset(long_path, 'x', sizeof(long_path));
	long_path[VM_VSOCK_PATH_MAX + 1] = '\0';
	config.vsock.path = long_path;
	cr_expect_eq(vm_config_check(&config, &err), -EINVAL);
	cr_expect(strstr(err.text, "at most 96 bytes"), "%s", err.text);
	long_path[VM_VSOCK_PATH_MAX] = '\0';
	cr_expect_eq(vm_config_check(&config, &err), 0);
}

Test(options_vsock, agent)
{
	cr_assert_eq(parse("--kernel k --agent a.cpio -- sh -c x"), 0, "%s", err.text);
	cr_expect_str_eq(options.agent.path, "a.cpio");
	cr_expect_str_eq(options.vm.initrd_path, "a.cpio");
	cr_expect_eq(options.agent.patience_s, AGENT_PATIENCE_DEFAULT_S);
	cr_expect_str_eq(options.console, "stderr");
	cr_expect_eq(options.vm.init_arg_count, 3);
	cr_assert_eq(parse("--kernel k --agent a.cpio,wait=5 --console none -- sh"), 0);
	cr_expect_eq(options.agent.patience_s, 5);
	cr_expect_str_eq(options.console, "none");
	expect_refused("--kernel k --agent a.cpio", "no command");
	expect_refused("--kernel k --agent a.cpio --initrd b -- sh", "--initrd 'b'");
	expect_refused("--kernel k --agent a.cpio --console stdio -- sh", "stderr, none or a path");
	expect_refused("--kernel k --agent a.cpio,wait=0 -- sh", "1 to 86400");
	expect_refused("--kernel k --agent a --agent b -- sh", "twice");
}
