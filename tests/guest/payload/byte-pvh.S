/* byte.S, entered by PVH: 32-bit protected mode, paging off, ebx = struct hvm_start_info. */
#include "payload.h"
	.code32
	.globl _start
_start:
	put_serial 'M'
	reset
pvh_note _start
