#pragma once

#include "frame.h"
#include "machine.h"

/* Runs the job's command and sends what it writes, then its status. */
void run_command(const struct job *job, const struct frame_start *start, int port);
