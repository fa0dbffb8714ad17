/* The guest's agent: what its few files share. */
#ifndef GUEST_AGENT_H
#define GUEST_AGENT_H

#include <stdint.h>
#include <sys/types.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* agent.c: a line on the console. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);
/* ... and the end of the machine: nothing can be run. */
__attribute__((format(printf, 1, 2))) _Noreturn void give_up(const char *format, ...);

/* system.c: modules and the usual mounts, then the root filesystem that the command line names. */
void set_up_system(void);
/* Ends every process but this one, and writes everything back. */
void tear_down_system(void);

/* vsock.c: a connection to the host, for this channel (cmd/agent_protocol.h). */
int open_channel(char name);
/* The command's arguments, NULL behind the last, from the control channel. */
char **read_args(int control);

/* command.c: runs it and carries its streams; its status as a shell would say it. */
struct channels {
	int control, in, out, err;
};
int run_command(char **argv, const struct channels *channels);

#endif
