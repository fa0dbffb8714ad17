#include <stdio.h>

#include "jailer/jail_options.h"

void jail_options_help(void)
{
	printf("Usage: mayfly-jailer --id ID --exec-file PATH --uid N --gid N [OPTION]... [-- ARG...]\n"
	       "       mayfly-jailer cleanup --id ID --exec-file PATH [--chroot-base-dir PATH]\n"
	       "       mayfly-jailer policy --id ID --tap NAME [OPTION]...   (see policy --help)\n"
	       "\n"
	       "Builds a jail and runs a program in it. Firecracker's options:\n"
	       "\n"
	       "  --id ID              1 to 64 letters, digits and '-'\n"
	       "  --exec-file PATH     the program, statically linked\n"
	       "  --uid N, --gid N     whom it runs as\n"
	       "  --chroot-base-dir PATH\n"
	       "                       the jail is PATH/PROGRAM/ID/root (default " JAIL_BASE_DEFAULT
	       ")\n"
	       "  --netns PATH         a network namespace to join\n"
	       "  --cgroup FILE=VALUE  written in the instance's cgroup; any number of times\n"
	       "  --cgroup-version 1|2 default: what this host has\n"
	       "  --parent-cgroup PATH below the cgroup mount (default: the program's name)\n"
	       "  --resource-limit fsize=BYTES|no-file=NUMBER\n"
	       "                       (default: no-file=%u)\n"
	       "  --daemonize          own session, standard streams to /dev/null\n"
	       "  --new-pid-ns         own process namespace\n"
	       "  -- ARG...            for the program\n"
	       "\n"
	       "and more:\n"
	       "\n"
	       "  --dry-run            print what would be done, and do nothing\n"
	       "  --new-net-ns         a network namespace of its own, with nothing in it\n"
	       "  --new-user-ns        a user namespace of its own, with UID and GID alone in it\n"
	       "  --bind-ro SOURCE:TARGET\n"
	       "                       a file or folder of the host's, in the jail, read-only\n"
	       "  --tmpfs MIB          the jail's root is memory and ends with the instance\n"
	       "  --copy-exec          run a copy of the program, in the jail\n"
	       "  --tap NAME,mac=M[,ip=A]...\n"
	       "                       this tap's guest may send from these addresses alone\n"
	       "  --no-device-policy   do not limit by cgroup which device nodes can be opened\n"
	       "  --version, --help\n"
	       "\n"
	       "Always: own mount, IPC, UTS and cgroup namespaces; no capability; no_new_privs; no core\n"
	       "dump; no environment; no descriptor but the standard three.\n"
	       "\n"
	       "Exit status: the program's; 1 when there was none.\n",
	       JAIL_NO_FILE_DEFAULT);
}
