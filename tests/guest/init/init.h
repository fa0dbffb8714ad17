/* The guest's init: what its few files share. */
#ifndef GUEST_INIT_H
#define GUEST_INIT_H

#include <stddef.h>

/* initramfs.c: loads the modules this initramfs brought; its list is there in one with modules only. */
#define MODULE_LIST "/modules/list"
void load_modules(void);
/* If the command line says root=, becomes that root's /sbin/init (and does not return). */
void switch_root(char **argv);

/* commands.c: runs one built-in command (argv[0] starts with '@') and returns its status. */
int run_builtin(int argc, char **argv);

/* pattern.c */
int run_pattern(int argc, char **argv);

/* write_flush.c */
int run_write_flush(int argc, char **argv);

/* net.c */
int run_net_echo(int argc, char **argv);
int run_net_frames(int argc, char **argv);
int run_net_send(int argc, char **argv);

/* init.c */
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
__attribute__((format(printf, 1, 2))) int fail(const char *format, ...);
/* Copies one line of a small file without its newline; false if it cannot. */
_Bool read_line(const char *path, char *buf, size_t size);
void mount_basics(void);
_Noreturn void end_machine(const char *how);

#endif
