/* Tells the boot timer that init runs, then gives the first virtio device a ring that is nowhere, and spins. */
#include "payload.h"
#define BOOT_TIMER 0xc0000000
#define VIRTIO 0xc0001000

.macro put_register offset, value
	mov $VIRTIO + \offset, %ebx
	mov $\value, %eax
	mov %eax, (%rbx)
.endm

	.globl _start
_start:
	mov $BOOT_TIMER, %ebx
	mov $123, %al
	mov %al, (%rbx)
	put_register 0x70, 0x3  /* status: acknowledged, driver */
	put_register 0x24, 1
	put_register 0x20, 1    /* VIRTIO_F_VERSION_1 */
	put_register 0x70, 0xb  /* features ok */
	put_register 0x30, 0
	put_register 0x38, 8    /* queue 0 of 8 entries */
	put_register 0x80, 0xfffff000
	put_register 0x90, 0xfffff000
	put_register 0xa0, 0xfffff000
	put_register 0x44, 1    /* ready */
1:	jmp 1b
