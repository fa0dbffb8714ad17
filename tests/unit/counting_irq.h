/* An interrupt line that counts. */
#pragma once

#include <stdatomic.h>

#include "base/irq_line.h"
#include "base/util.h"

struct counting_irq {
	struct irq_line line;
	atomic_int count;
};

static inline void counting_irq_raise(struct irq_line *line)
{
	atomic_fetch_add(&container_of(line, struct counting_irq, line)->count, 1);
}

#define COUNTING_IRQ                              \
	{                                         \
		.line.raise = counting_irq_raise, \
	}
