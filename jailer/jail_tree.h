/* Folders that somebody else may write to: no link is followed, no mount is crossed. Any thread. */
#pragma once

#include "base/util.h"

/* Opens the folder for reading, every part of the path a folder of its own. -errno; -ELOOP: a link. */
must_check int jail_tree_open(int at, const char *path);

/* Removes the file or the folder with all that is in it, on this filesystem alone. 0 also when there is
 * none; what cannot be removed is left, and the first -errno returned. */
int jail_tree_remove(int at, const char *path);
