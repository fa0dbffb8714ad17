/* Says S, then writes what it reads from the serial port: but f is 8 KiB of 'x' at once and a '.', and q restarts. */
#include "payload.h"
#define SERIAL_IER 0x3f9
#define SERIAL_LSR 0x3fd

.macro wait_status bit
8:	mov $SERIAL_LSR, %dx
	in %dx, %al
	and $\bit, %al
	je 8b
	mov $SERIAL, %dx
.endm

	.globl _start
_start:
	put_serial 'S'
	mov $SERIAL_IER, %dx
	mov $1, %al
	out %al, %dx
1:	wait_status 0x01
	in %dx, %al
	cmp $'q', %al
	je 4f
	cmp $'f', %al
	je 2f
	mov %al, %bl
	wait_status 0x20
	mov %bl, %al
	out %al, %dx
	jmp 1b
2:	mov $8192, %ecx
	mov $'x', %al
3:	out %al, %dx
	sub $1, %ecx
	jne 3b
	wait_status 0x20
	mov $'.', %al
	out %al, %dx
	jmp 1b
4:	reset
