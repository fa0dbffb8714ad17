/* The program's own memory: its code, its heap. */
#pragma once

/*
 * Gives back the pages of code and constants that starting up has touched and running does not need:
 * thousands of instances each hold their page tables and count in every accounting of memory. What
 * is needed after all comes back from the page cache by a minor fault. So do free pages of the heap, which a load
 * used once. Any thread; costs some microseconds.
 */
void own_pages_release(void);
