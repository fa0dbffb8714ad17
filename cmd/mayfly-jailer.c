/* mayfly-jailer: builds a jail around one program, then becomes it. Takes what Firecracker's jailer takes. */
#include <stdio.h>
#include <string.h>

#include "base/version.h"
#include "cmd/exit_codes.h"
#include "jailer/jail.h"
#include "jailer/jail_clean_options.h"
#include "jailer/jail_policy.h"

static int fail(const struct error *err)
{
	fprintf(stderr, "mayfly-jailer: error: %s\n", err->text);
	return EXIT_GENERIC;
}

static int cleanup_main(int argc, char **argv)
{
	struct jail_clean_options options;
	struct error err = { 0 };

	if (jail_clean_options_parse(&options, argc, argv, &err) < 0)
		return fail(&err);
	if (jail_cleanup(options.base, options.exec_name, options.id, &err) < 0)
		return fail(&err);
	return EXIT_OK;
}

static int policy_main(int argc, char **argv)
{
	struct jail_policy policy;
	struct error err = { 0 };

	if (jail_policy_parse(&policy, argc, argv, &err) < 0)
		return fail(&err);
	if (policy.help) {
		jail_policy_help();
		return EXIT_OK;
	}
	return jail_policy_apply(&policy, &err) < 0 ? fail(&err) : EXIT_OK;
}

static int jail_main(const struct jail_options *options)
{
	struct jail_plan *plan = NULL;
	struct error err = { 0 };
	struct jail_host host;
	int ret = jail_host_probe(&host, options, &err);

	if (ret == 0)
		ret = jail_plan_make(&plan, options, &host, &err);
	if (ret == 0 && options->dry_run)
		jail_plan_print(plan);
	else if (ret == 0)
		ret = jail_run(plan, &err);
	jail_plan_free(plan);
	return ret < 0 ? fail(&err) : EXIT_OK;
}

int main(int argc, char **argv)
{
	struct jail_options options;
	struct error err = { 0 };

	if (argc > 1 && strcmp(argv[1], "cleanup") == 0)
		return cleanup_main(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "policy") == 0)
		return policy_main(argc - 1, argv + 1);
	if (jail_options_parse(&options, argc, argv, &err) < 0)
		return fail(&err);
	if (options.help) {
		jail_options_help();
		return EXIT_OK;
	}
	if (options.version) {
		printf("mayfly-jailer v" MAYFLY_VERSION "\n");
		return EXIT_OK;
	}
	return jail_main(&options);
}
