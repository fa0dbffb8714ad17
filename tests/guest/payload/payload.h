/* What the payloads share. Plain moves, outs and jumps only: a software KVM emulates little else in ring 0. */

#define SERIAL 0x3f8   /* COM1, data register */
#define I8042 0x64     /* keyboard controller, command port */
#define PULSE_RESET 0xfe

.macro put_serial byte
	mov $SERIAL, %dx
	mov $\byte, %al
	out %al, %dx
.endm

/* Restart the machine; the monitor should never come back from the out. */
.macro reset
	mov $PULSE_RESET, %al
	out %al, $I8042
9:	hlt
	jmp 9b
.endm

/* Makes the ELF enterable by PVH: XEN_ELFNOTE_PHYS32_ENTRY with a 32-bit entry address. */
.macro pvh_note entry
	.section .note.pvh, "a", @note
	.balign 4
	.long 4, 4, 18
	.asciz "Xen"
	.long \entry
.endm
