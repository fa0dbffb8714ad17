/* Capabilities that the monitor has where nobody jailed it, and what its threads keep of them. */
#pragma once

#include "base/error.h"
#include "base/thread.h"

/* Takes from the calling thread what its kind has no use for. -errno and *err. */
must_check int privileges_drop(enum thread_kind kind, struct error *err);
