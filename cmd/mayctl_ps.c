/* mayctl ps and top: a folder of microVMs, once or as it changes. */
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/mayctl.h"
#include "cmd/mayctl_fleet.h"

#define PS_SAMPLE_MS 250
#define TOP_PERIOD_MS 1000

/* What is known of a folder, from look to look. */
struct watcher {
	const char *dir;
	json_t *last; /* NULL before the first look */
	uint64_t last_at;
};

/* The rows of now; NULL and a message. */
static json_t *look(struct watcher *watcher)
{
	struct fleet fleet;
	struct error err;
	json_t *now, *rows;
	uint64_t at;

	if (fleet_find(&fleet, watcher->dir, &err) < 0) {
		ctl_fail(0, "%s", err.text);
		return NULL;
	}
	at = clock_now_ns(CLOCK_MONOTONIC);
	now = fleet_sample(&fleet);
	rows = fleet_rows(watcher->last, now, at - watcher->last_at);
	fleet_free(&fleet);
	json_decref(watcher->last);
	watcher->last = now;
	watcher->last_at = at;
	return rows;
}

int ctl_ps_command(struct ctl *ctl, int argc, char **argv)
{
	struct watcher watcher = { .dir = argc == 1 ? argv[0] : ctl->sock };
	json_t *rows;

	if (argc > 1 || !watcher.dir)
		return ctl_fail(CTL_BAD_ARGUMENTS, "ps of which folder?");
	rows = look(&watcher);
	if (json_array_size(rows) > 0) {
		json_decref(rows);
		poll(NULL, 0, PS_SAMPLE_MS);
		rows = look(&watcher);
	}
	if (rows && (json_array_size(rows) > 0 || ctl->json))
		ctl_print_result(ctl, rows);
	json_decref(watcher.last);
	json_decref(rows);
	return rows ? CTL_OK : CTL_BAD_ARGUMENTS;
}

/* The screen ------------------------------------------------------------------------------------*/

static struct termios found_modes;
static volatile sig_atomic_t wants_end;

static void on_end_signal(int signal)
{
	(void)signal;
	wants_end = 1;
}

/* Interrupts poll(), which is all that it is for. */
static void on_resize(int signal)
{
	(void)signal;
}

static void take_screen(void)
{
	struct termios modes;

	tcgetattr(STDIN_FILENO, &found_modes);
	modes = found_modes;
	modes.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	tcsetattr(STDIN_FILENO, TCSANOW, &modes);
	printf("\033[?1049h\033[?25l"); /* another page, without a cursor */
}

static void leave_screen(void)
{
	printf("\033[?25h\033[?1049l");
	fflush(stdout);
	tcsetattr(STDIN_FILENO, TCSANOW, &found_modes);
}

/* As many lines, of as many bytes, as the screen has. */
static void draw(const struct watcher *watcher, const char *text)
{
	struct winsize size = { .ws_row = 24, .ws_col = 80 };
	unsigned int line = 2;

	ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	if (size.ws_row < 3 || size.ws_col < 10) /* a terminal that does not tell */
		size = (struct winsize){ .ws_row = 24, .ws_col = 80 };
	printf("\033[H\033[1m%.*s\033[0m\033[K\n", size.ws_col - 1, watcher->dir);
	for (; *text && line < size.ws_row; line++) {
		int len = (int)strcspn(text, "\n");

		printf("%.*s\033[K\n", len < size.ws_col ? len : size.ws_col - 1, text);
		text += len + (text[len] == '\n');
	}
	printf("\033[Jq quits");
	fflush(stdout);
}

static void show(const struct ctl *ctl, const struct watcher *watcher, const json_t *rows,
		 bool has_screen)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out;

	if (!has_screen) {
		ctl_print_result(ctl, rows);
		return;
	}
	out = open_memstream(&text, &len);
	if (!out)
		return;
	ctl_print(rows, out);
	fclose(out);
	draw(watcher, text);
	free(text);
}

/* Until the next look is due. True: the key that ends it was pressed. */
static bool wait_for_key(bool has_screen)
{
	struct pollfd input = { .fd = has_screen ? STDIN_FILENO : -1, .events = POLLIN };
	char key;

	return poll(&input, 1, TOP_PERIOD_MS) > 0 &&
	       (read(STDIN_FILENO, &key, 1) <= 0 || key == 'q');
}

static void handle_signals(void)
{
	struct sigaction end = { .sa_handler = on_end_signal };
	struct sigaction resize = { .sa_handler = on_resize };

	sigaction(SIGINT, &end, NULL);
	sigaction(SIGTERM, &end, NULL);
	sigaction(SIGHUP, &end, NULL);
	sigaction(SIGWINCH, &resize, NULL);
}

int ctl_top_command(struct ctl *ctl, int argc, char **argv)
{
	bool has_screen = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && !ctl->json;
	struct watcher watcher = { .dir = argc > 0 ? argv[0] : ctl->sock };
	char *end = NULL;
	long rounds = argc > 1 ? strtol(argv[1], &end, 10) : 0;
	int status = CTL_OK;

	if (!watcher.dir || argc > 2 || rounds < 0 || (argc > 1 && (rounds == 0 || *end)))
		return ctl_fail(CTL_BAD_ARGUMENTS, "top DIR [TIMES]");
	handle_signals();
	if (has_screen)
		take_screen();
	for (long round = 0; status == CTL_OK && !wants_end; round++) {
		json_t *rows = look(&watcher);

		if (!rows)
			status = CTL_BAD_ARGUMENTS;
		else
			show(ctl, &watcher, rows, has_screen);
		json_decref(rows);
		if ((rounds && round + 1 == rounds) || !rows || wants_end ||
		    wait_for_key(has_screen))
			break;
	}
	if (has_screen)
		leave_screen();
	json_decref(watcher.last);
	return status;
}
