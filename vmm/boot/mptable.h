/*
 * MultiProcessor Specification 1.4 tables at LAYOUT_MPTABLE, for kernels that have or are told to
 * use no ACPI: the CPUs, one ISA bus, the IOAPIC, and ISA interrupt n on pin n for all pins.
 */
#pragma once

#include "base/error.h"
#include "base/guest_memory.h"

/* -EFAULT when guest memory has no RAM there. */
must_check int mptable_write(struct guest_memory *mem, unsigned int vcpus, struct error *err);
