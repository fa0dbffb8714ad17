/*
 * One interrupt line. The owner decides what raising it means: the monitor writes an irqfd, a test
 * counts. raise() may be called from any thread and never blocks.
 */
#pragma once

struct irq_line {
	void (*raise)(struct irq_line *line);
};

static inline void irq_line_raise(struct irq_line *line)
{
	line->raise(line);
}
