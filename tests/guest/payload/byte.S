/* Writes one byte to the serial port and restarts: how long until a guest's first byte. */
#include "payload.h"
	.globl _start
_start:
	put_serial 'M'
	reset
