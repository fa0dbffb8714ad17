/*
 * Landlock, the wall behind seccomp: what a process of the monitor may do with files whatever calls it gets through
 * with. In a jail nothing outside of its root can be opened, not even by a descriptor of a folder there; anywhere
 * nothing can be executed, no device node, pipe or symbolic link made, nothing mounted, no TCP port used, and no
 * process outside signalled. A kernel without Landlock does without, and the log says so.
 */
#pragma once

#include "base/error.h"

/* Confines the calling thread and all that it will start. Once, before threads exist; no_new_privs must be set. */
must_check int landlock_confine(struct error *err);

/* Takes all files from the calling thread: it goes on with what is open. 0 where landlock_confine() had no kernel. */
must_check int landlock_confine_to_nothing(struct error *err);
