#pragma once

#include <stddef.h>

struct bind {
	const char *source; /* below the export: overlay/PATH or rw/N */
	const char *target;
};

/* What the host asked for. */
struct job {
	const char *cwd;
	size_t nbinds;
	struct bind *binds;
	char **argv;
	char **env;
};

/* Ends the lab with this text and errno's. */
_Noreturn void lab_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

struct job read_job(const char *job_path, const char *env_path);

/* Loads the modules that the file list names, in its order, from the folder dir. */
void load_modules(const char *list, const char *dir);

void mount_devices(void);

/* Makes an overlay over the machine's filesystem the root, and mounts all that a host has. */
void mount_machine(const struct job *job);
