/* What live.c asks live_commands.c. */
#pragma once

#include "vmm/machine.h"

/* Does what the line says; `text` gets what there is to say about it. -errno and *err when it cannot. */
int live_command(struct machine *machine, char *line, char *text, size_t size, struct error *err);
