/* Writes 64 KiB of 'x' as fast as it can and restarts: a console whose reader is slow must lose none. */
#include "payload.h"
	.globl _start
_start:
	mov $65536, %ecx
	mov $SERIAL, %dx
	mov $'x', %al
1:	out %al, %dx
	sub $1, %ecx
	jne 1b
	reset
