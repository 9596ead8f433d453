/* One line at the foot of a terminal for what takes longer than a second. Never in a file or pipe.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Turns it on where stdout is a terminal; quiet and JSON keep it off. */
void progress_begin(bool wanted);
/* done of total steps (total 0: not known). Drawn at most ten times a second, after the first
 * second; cut to the terminal's width. */
void progress_show(const char *what, uint64_t done, uint64_t total);
/* Takes the line away, so that others can print; at the end, too. */
void progress_clear(void);
