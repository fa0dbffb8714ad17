/* Says 'T' and triple-faults: no interrupt table, then an invalid instruction. */
#include "payload.h"
	.globl _start
_start:
	put_serial 'T'
	lidt empty(%rip)
	ud2
1:	hlt
	jmp 1b
	.balign 8
empty:	.word 0
	.quad 0
