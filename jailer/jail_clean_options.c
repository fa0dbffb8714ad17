#include "jailer/jail_clean_options.h"

#include <string.h>

#include "jailer/jail_options.h"
#include "jailer/jail_text.h"

/* Every option has a value and stands once. */
static int apply(struct jail_clean_options *options, const char *option, const char *value,
		 struct error *err)
{
	const struct {
		const char *name;
		const char **field;
	} known[] = { { "--id", &options->id },
		      { "--exec-file", &options->exec_name },
		      { "--chroot-base-dir", &options->base } };

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (strcmp(option, known[i].name) != 0)
			continue;
		if (!value)
			return error_set(err, EINVAL, "cleanup: %s wants a value", option);
		if (*known[i].field)
			return error_set(err, EINVAL, "cleanup: %s is given twice", option);
		*known[i].field = value;
		return 0;
	}
	return error_set(err, EINVAL,
			 "cleanup: unknown option '%s'; there are --id, --exec-file and "
			 "--chroot-base-dir",
			 option);
}

int jail_clean_options_parse(struct jail_clean_options *options, int argc, char **argv,
			     struct error *err)
{
	const char *slash;
	int ret = 0;

	*options = (struct jail_clean_options){ 0 };
	for (int i = 1; i < argc && ret == 0; i += 2)
		ret = apply(options, argv[i], argv[i + 1], err);
	if (ret < 0)
		return ret;
	if (!options->id)
		return error_set(err, EINVAL, "cleanup: --id is missing");
	/* The program may be gone by now: its name is enough. */
	if (!options->exec_name)
		options->exec_name = "mayfly";
	slash = strrchr(options->exec_name, '/');
	if (slash)
		options->exec_name = slash + 1;
	if (!options->base)
		options->base = JAIL_BASE_DEFAULT;
	ret = jail_check_id("--id", options->id, err);
	if (ret == 0)
		ret = jail_check_name("--exec-file", options->exec_name, err);
	return ret < 0 ? ret : jail_check_path("--chroot-base-dir", options->base, err);
}
