/*
 * MultiProcessor Specification 1.4 tables, for kernels that have or are told to use no ACPI: the
 * CPUs, one ISA bus, the IOAPIC, and ISA interrupt n on pin n for all pins. The table is at
 * LAYOUT_MPTABLE, what points to it at LAYOUT_MP_FLOATING, where it is looked for first.
 */
#pragma once

#include "base/error.h"
#include "base/guest_memory.h"

/* -EFAULT when guest memory has no RAM there. */
must_check int mptable_write(struct guest_memory *mem, unsigned int vcpus, struct error *err);
