/* `mayfly help run`. */
#include <stdio.h>

#include "cmd/run_options.h"
#include "vmm/boot/cmdline.h"
#include "vmm/layout.h"

static void print_options(void)
{
	printf("Usage: mayfly run --kernel PATH [OPTION]... [-- ARG...]\n"
	       "\n"
	       "Starts a microVM in the foreground, with its serial port on this terminal.\n"
	       "\n"
	       "  --kernel PATH        the guest's kernel: an x86-64 ELF vmlinux or a bzImage\n"
	       "  --initrd PATH        its initial RAM disk\n"
	       "  --rootfs DRIVE       the root filesystem; always vda\n"
	       "  --drive DRIVE        a further disk: vdb, vdc, ... in the order given, up to %u in\n"
	       "                       all; without --rootfs the first one is vda\n"
	       "  --pmem PMEM          a file as persistent memory: pmem0, pmem1, ... in the order given,\n"
	       "                       up to %u in all\n"
	       "  --balloon BALLOON    memory to take from the guest and give back to the host\n"
	       "  --net NET            a network interface, up to %u\n"
	       "  --rate RATE          how much a device may move, in bytes, operations or both\n"
	       "  --vsock PATH[,cid=N] stream sockets between host and guest, whose CID is N (default\n"
	       "                       3). Programs of the host connect to the Unix socket PATH and\n"
	       "                       say `CONNECT <port>`; for the guest's connections to a port of\n"
	       "                       the host (CID 2) they listen at PATH_<port>\n"
	       "  --metadata PATH[,version=V1|V2][,address=A.B.C.D]\n"
	       "                       JSON that every NET serves to the guest, by HTTP at the address\n"
	       "                       (default 169.254.169.254). V2 wants session tokens (default V1)\n"
	       "  --agent PATH[,wait=S] run the command ARG... in the guest: its standard streams are\n"
	       "                       ours, its status is ours (128+N for signal N; 125 when it is not\n"
	       "                       known: no start of the agent within S seconds (default %u), a\n"
	       "                       crash of the guest, any failure here). PATH is the initrd\n"
	       "                       build/guest/agent.cpio, which goes on to a --rootfs\n"
	       "  --cpus N             vCPUs, 1 to %u (default 1)\n"
	       "  --mem MIB            memory in MiB, or with a suffix: 512M, 4G (default %lu)\n"
	       "  --cmdline STRING     the kernel's command line, instead of\n"
	       "                         %s\n"
	       "                       console=ttyS0 and root=/dev/vda ro|rw are added unless STRING\n"
	       "                       names its own\n"
	       "  --console stdio|stderr|none|PATH\n"
	       "                       where the serial port is (default stdio; with --agent\n"
	       "                       stderr). stderr gets the guest's output, as does a PATH, at\n"
	       "                       its end; none discards it\n"
	       "  --timings            at the end, print where the time went\n"
	       "  --seccomp-filter FILE\n"
	       "                       the system calls that threads may make, instead of the built-in\n"
	       "                       list: our text format or Firecracker's JSON\n"
	       "  --no-seccomp         let them make any\n"
	       "  --help               this text\n"
	       "  -- ARG...            arguments for the guest's init, at most %u\n"
	       "\n",
	       VM_DRIVES_MAX, VM_PMEMS_MAX, VM_NETS_MAX, AGENT_PATIENCE_DEFAULT_S, LAYOUT_VCPUS_MAX,
	       VM_MEMORY_DEFAULT >> 20, CMDLINE_DEFAULT, CMDLINE_INIT_ARGS_MAX);
}

static void print_devices(void)
{
	printf("A DRIVE is PATH or fd=N (an open descriptor), then :ro for read-only, then settings\n"
	       "as ,KEY=VALUE. A comma that is part of the path is written twice.\n"
	       "  cache=writeback|unsafe   unsafe offers no flush: fast, lost when the host crashes\n"
	       "  direct=on|off            on goes around the host's page cache (default off)\n"
	       "  num-queues=N             request queues, up to %u (default 1)\n"
	       "  queue-size=N             entries of each, a power of 2 up to %u (default 256)\n"
	       "  loop=N                   the I/O thread that serves it, 0 to %u (default 0)\n"
	       "\n"
	       "A NET is tap=NAME, a tap that the host has, or fd=N, an open one, then settings as\n"
	       ",KEY=VALUE.\n"
	       "  mac=XX:XX:XX:XX:XX:XX    the guest's address (default: made up)\n"
	       "  mtu=N                    what the guest is to use, %u to 65535 (default: it decides)\n"
	       "  antispoof=on|off         on drops what the guest sends from another MAC (default on)\n"
	       "  queues=N                 pairs of queues, up to %u (default 1), of a tap that has as many\n"
	       "\n"
	       "A PMEM is PATH or fd=N of a regular file, then :ro for read-only, then settings. Guests that\n"
	       "have the same file share its pages; writable, what one writes the others see.\n"
	       "  root=on|off              on: the root filesystem is on it (default off). The kernel goes\n"
	       "                           around its page cache when --cmdline has rootflags=dax\n"
	       "\n"
	       "A BALLOON is a number of MiB, then settings as ,KEY=VALUE.\n"
	       "  deflate-on-oom=on|off    a guest short of memory may take it back (default off)\n"
	       "  stats=SECONDS            statistics of the guest's memory so often (default 0: none)\n"
	       "  reporting=on|off         pages that the guest frees go back by themselves (default off)\n"
	       "  hinting=on|off           the guest can be asked for its free pages (default off)\n"
	       "\n"
	       "A RATE is DEVICE,bytes=SIZE/MS[+BURST],ops=COUNT/MS[+BURST], one of the two or both: SIZE\n"
	       "bytes (a number of MiB, or 64K, 512B) or COUNT operations in MS milliseconds, filled in\n"
	       "evenly, SIZE or COUNT at once if they were saved up, and BURST more once, at the start.\n"
	       "A DEVICE is vda, vdb, ..., net0.rx (what the guest receives), net0.tx, pmem0 (flushes) or\n"
	       "rng. A drive's flush is an operation.\n"
	       "\n",
	       VM_QUEUES_MAX, VM_QUEUE_SIZE_MAX, VM_IO_LOOPS_MAX - 1, VM_NET_MTU_MIN,
	       VM_NET_QUEUE_PAIRS_MAX);
}

static void print_ends(void)
{
	printf("On a terminal: Ctrl-A x ends the microVM, Ctrl-A h lists the other keys.\n"
	       "\n"
	       "Exit status: 0 when the guest powered off or restarted, or after Ctrl-A x;\n"
	       "1 failure, or KVM could not go on; 148 SIGSYS; 149 a file the guest ran from was cut\n"
	       "short, or SIGBUS; 150 SIGSEGV; 152 a kernel, image or value that cannot work; 153 bad\n"
	       "command line; 154 SIGXCPU; 156 SIGHUP; 157 SIGILL; 160 the guest's CPU\n"
	       "triple-faulted; 128+N any other signal N.\n"
	       "\n"
	       "Examples:\n"
	       "  mayfly run --kernel vmlinux --rootfs debian.ext4:ro --mem 512 -- /bin/echo hello\n"
	       "  echo hi | mayfly run --kernel vmlinux --agent agent.cpio -- wc -c\n");
}

void run_options_help(void)
{
	print_options();
	print_devices();
	print_ends();
}
