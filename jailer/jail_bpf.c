#include "jailer/jail_bpf.h"

#include <bpf/libbpf.h>
#include <fcntl.h>

#include "jailer/jail_tree.h"

void jail_bpf_quiet(void)
{
	libbpf_set_print(NULL);
}

int jail_bpf_remove_pins(const char *path)
{
	return jail_tree_remove(AT_FDCWD, path);
}
