/* Whole machines whose guest is a few instructions, for tests of what goes on around a guest. They need a
 * /dev/kvm; a software one will do. */
#pragma once

#include <criterion/criterion.h>
#include <elf.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/machine.h"

struct payload {
	struct vm_config config;
	struct timeline timeline;
	struct machine *machine;
	char kernel[64];
	int kernel_fd;
	int console[2]; /* a pipe: what the guest writes to the serial port is read from [0] */
};

#define PAYLOAD_AT 0x100000ul

/* What the first byte on the serial port is, then each one less than the one before, for ever:
 *   mov $0x3f8,%dx; mov $0xff,%al; 1: out %al,%dx; sub $1,%al; jmp 1b */
static const uint8_t payload_count_down[] = { 0x66, 0xba, 0xf8, 0x03, 0xb0, 0xff,
					      0xee, 0x2c, 0x01, 0xeb, 0xfb };

/* An ELF of one page with this code at its start, in a file of memory. */
static inline int payload_kernel(const void *code, size_t size)
{
	const struct {
		Elf64_Ehdr header;
		Elf64_Phdr segment;
	} elf = {
		.header = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			    .e_type = ET_EXEC,
			    .e_machine = EM_X86_64,
			    .e_version = EV_CURRENT,
			    .e_entry = PAYLOAD_AT,
			    .e_phoff = sizeof(Elf64_Ehdr),
			    .e_ehsize = sizeof(Elf64_Ehdr),
			    .e_phentsize = sizeof(Elf64_Phdr),
			    .e_phnum = 1 },
		.segment = { .p_type = PT_LOAD,
			     .p_offset = PAGE_SIZE,
			     .p_paddr = PAYLOAD_AT,
			     .p_vaddr = PAYLOAD_AT,
			     .p_filesz = PAGE_SIZE,
			     .p_memsz = PAGE_SIZE,
			     .p_align = PAGE_SIZE },
	};
	int fd = memfd_create("payload", MFD_CLOEXEC);

	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, 2 * PAGE_SIZE), 0);
	cr_assert_eq(pwrite(fd, &elf, sizeof(elf), 0), (ssize_t)sizeof(elf));
	cr_assert_eq(pwrite(fd, code, size, PAGE_SIZE), (ssize_t)size);
	return fd;
}

static inline void payload_init(struct payload *payload, const void *code, size_t size)
{
	*payload = (struct payload){ 0 };
	if (access("/dev/kvm", R_OK | W_OK) < 0)
		cr_skip_test("no /dev/kvm that this user may use");
	cr_assert_eq(pipe2(payload->console, O_CLOEXEC | O_NONBLOCK), 0);
	payload->kernel_fd = payload_kernel(code, size);
	snprintf(payload->kernel, sizeof(payload->kernel), "/proc/self/fd/%d", payload->kernel_fd);
	payload->config = (struct vm_config){
		.kernel_path = payload->kernel,
		.vcpus = 1,
		.memory = VM_MEMORY_DEFAULT,
		.has_console = true,
		.console_fd = payload->console[1],
	};
}

static inline void payload_build(struct payload *payload)
{
	struct error err = { 0 };

	cr_assert_eq(machine_build(&payload->machine, &payload->config, &payload->timeline, &err),
		     0, "%s", err.text);
}

static inline void payload_fini(struct payload *payload)
{
	if (payload->machine)
		machine_destroy(payload->machine);
	close_fd(&payload->console[0]);
	close_fd(&payload->console[1]);
	close_fd(&payload->kernel_fd);
}

/* What the guest has written, at most `max` bytes; waits up to `ms` for the first. */
static inline size_t payload_read(const struct payload *payload, void *out, size_t max, int ms)
{
	struct pollfd ready = { .fd = payload->console[0], .events = POLLIN };
	ssize_t got;

	if (poll(&ready, 1, ms) <= 0)
		return 0;
	got = read(payload->console[0], out, max);
	return got < 0 ? 0 : (size_t)got;
}
