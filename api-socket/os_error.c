#include "api-socket/os_error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *os_error(char out[static OS_ERROR_MAX], int code)
{
	const char *text = strerrordesc_np(abs(code));

	snprintf(out, OS_ERROR_MAX, "%.70s (os error %d)", text ? text : "Unknown error",
		 abs(code));
	return out;
}
