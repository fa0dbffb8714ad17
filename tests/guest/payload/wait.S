/* Says 'S', waits until the byte at 0x100800 is not zero, writes it out, restarts: for snapshots, whose memory
 * file anyone can patch. */
#include "payload.h"
	.globl _start
_start:
	put_serial 'S'
1:	mov flag, %al
	cmp $0, %al
	je 1b
	out %al, %dx
	reset
	.org 0x800
flag:	.byte 0
