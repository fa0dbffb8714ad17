/*
 * The guest's physical address space and interrupt lines, in one place.
 *
 *   0x0000_0500  GDT                       0x0009_fc00  end of usable memory; MP floating pointer
 *   0x0000_6000  PVH start info            0x000e_0000  ACPI RSDP, then the tables
 *   0x0000_7000  zero page (boot_params)   0x000e_f000  VMClock; 0x000f_0000  MP table
 *   0x0000_8000  boot stack                0x0010_0000  RAM: kernel and, at its top, the initrd
 *   0x0000_9000  page tables (PML4, ...)
 *   0x0002_0000  kernel command line
 *
 *   0xc000_0000  end of low RAM; boot timer; one page per virtio-mmio device from 0xc000_1000
 *   0xfec0_0000  IOAPIC      0xfee0_0000  local APICs      0xfffb_d000  KVM's TSS and identity map
 *   0x1_0000_0000  RAM again, when there is more than 3 GiB
 */
#pragma once

#include "base/util.h"

#define LAYOUT_GDT 0x500ul
#define LAYOUT_PVH_START_INFO 0x6000ul
#define LAYOUT_ZERO_PAGE 0x7000ul
#define LAYOUT_BOOT_STACK 0x8ff0ul /* top of a page for payloads that need one */
#define LAYOUT_PAGE_TABLES 0x9000ul
#define LAYOUT_CMDLINE 0x20000ul
#define LAYOUT_CMDLINE_MAX 2048u /* bytes, the terminating zero included */
#define LAYOUT_LOW_RAM_END 0x9fc00ul
#define LAYOUT_ACPI 0xe0000ul
#define LAYOUT_ACPI_MAX 0xf000ul
#define LAYOUT_VMGENID 0xe0030ul /* 16 bytes between RSDP and tables */
#define LAYOUT_VMCLOCK 0xef000ul /* behind the tables: a page, which a guest's programs may map */
#define LAYOUT_VMCLOCK_SIZE 0x1000u
#define LAYOUT_MP_FLOATING 0x9fc00ul /* the last KiB of base memory */
#define LAYOUT_MPTABLE 0xf0000ul
#define LAYOUT_MPTABLE_MAX 0x10000ul
#define LAYOUT_HIGH_RAM 0x100000ul

#define LAYOUT_HOLE_START 0xc0000000ul
#define LAYOUT_HOLE_END 0x100000000ul
#define LAYOUT_BOOT_TIMER 0xc0000000ul
#define LAYOUT_VIRTIO_MMIO 0xc0001000ul
#define LAYOUT_VIRTIO_MMIO_SIZE 0x1000ul
#define LAYOUT_IOAPIC 0xfec00000ul
#define LAYOUT_IOAPIC_SIZE 0x1000ul
#define LAYOUT_LAPIC 0xfee00000ul
#define LAYOUT_TSS 0xfffbd000ul
#define LAYOUT_IDENTITY_MAP 0xfffbc000ul

/* Global system interrupts: pins of the one IOAPIC, numbered from 0. */
#define LAYOUT_IOAPIC_PINS 48u
#define LAYOUT_GSI_KEYBOARD 1u
#define LAYOUT_GSI_EVENTS 3u /* ACPI's generic event device */
#define LAYOUT_GSI_SERIAL 4u
#define LAYOUT_GSI_VIRTIO 5u /* one each from here to the last pin: 43 devices */
#define LAYOUT_VIRTIO_DEVICES_MAX (LAYOUT_IOAPIC_PINS - LAYOUT_GSI_VIRTIO)

/* I/O ports. */
#define LAYOUT_PORT_I8042_DATA 0x60u
#define LAYOUT_PORT_I8042_COMMAND 0x64u
#define LAYOUT_PORT_SERIAL 0x3f8u
#define LAYOUT_PORT_SLEEP_CONTROL 0x600u /* ACPI sleep control and status registers, a byte each */
#define LAYOUT_PORT_SLEEP_STATUS 0x601u
#define LAYOUT_SLP_TYP_S5 5u

#define LAYOUT_VCPUS_MAX 32u
