/* Says 'S' and then keeps its vCPU busy for ever: for signals, pauses, memory figures. */
#include "payload.h"
	.globl _start
_start:
	put_serial 'S'
1:	pause
	jmp 1b
