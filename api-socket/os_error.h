/* A system error as Rust's standard library writes it, which is what Firecracker's messages end with. */
#pragma once

#define OS_ERROR_MAX 100

/* "No such file or directory (os error 2)". code: an errno of either sign. Returns out. */
const char *os_error(char out[static OS_ERROR_MAX], int code);
