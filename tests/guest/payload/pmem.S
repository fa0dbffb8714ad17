/* Maps the first 2 MiB of what is at 4 GiB, says 'R', reads its last page until that is zero, says 'Z', restarts. */
#include "payload.h"
#define PDPT 0xa000 /* where the monitor's page tables have it (LAYOUT_PAGE_TABLES) */
#define DIRECTORY 0x200000
#define PRESENT_WRITE 3
#define PRESENT_WRITE_2_MIB 0x83
	.globl _start
_start:
	mov $0x100000000 + PRESENT_WRITE_2_MIB, %rax
	mov $DIRECTORY, %rbx
	mov %rax, (%rbx)
	mov $DIRECTORY + PRESENT_WRITE, %rax
	mov $PDPT + 4 * 8, %rbx
	mov %rax, (%rbx)
	put_serial 'R'
	mov $0x1001ff000, %rbx
1:	mov (%rbx), %al
	cmp $0, %al
	jne 1b
	put_serial 'Z'
	reset
