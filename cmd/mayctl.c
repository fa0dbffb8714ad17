/* mayctl: a microVM's API socket from the command line. */
#include <stdio.h>
#include <string.h>

#include "api-socket/client.h"
#include "api-socket/describe.h"
#include "base/version.h"
#include "cmd/exit_codes.h"

static void help(void)
{
	printf("Usage: mayctl --sock PATH call METHOD [JSON]\n"
	       "       mayctl protocol\n"
	       "\n"
	       "  call       calls a method of the microVM behind the socket and prints the answer\n"
	       "  protocol   prints docs/protocol.md: all methods and their fields\n"
	       "\n"
	       "Example: mayctl --sock /run/vm.sock call vm.info\n");
}

static int fail(const char *text)
{
	fprintf(stderr, "mayctl: error: %s\n", text);
	return EXIT_GENERIC;
}

static int call(struct mayfly_client *client, const char *method, const char *text)
{
	json_error_t why;
	json_t *params = text ? json_loads(text, 0, &why) : NULL, *result = NULL;
	int ret;

	if (text && !params)
		return fail(why.text);
	ret = mayfly_client_call(client, method, params, &result);
	json_decref(params);
	if (ret < 0)
		return fail(mayfly_client_error(client));
	if (!json_is_null(result)) {
		json_dumpf(result, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
		putchar('\n');
	}
	json_decref(result);
	return EXIT_OK;
}

int main(int argc, char **argv)
{
	struct mayfly_client *client;
	int status;

	if (argc == 2 && strcmp(argv[1], "protocol") == 0) {
		describe_protocol(stdout);
		return EXIT_OK;
	}
	if (argc < 5 || argc > 6 || strcmp(argv[1], "--sock") != 0 ||
	    strcmp(argv[3], "call") != 0) {
		help();
		return argc == 2 && strcmp(argv[1], "--help") == 0 ? EXIT_OK : EXIT_BAD_ARGUMENTS;
	}
	status = mayfly_client_open(&client, argv[2]);
	if (status < 0) {
		fprintf(stderr, "mayctl: error: %s: %s\n", argv[2], strerrordesc_np(-status));
		return EXIT_GENERIC;
	}
	status = call(client, argv[4], argc > 5 ? argv[5] : NULL);
	mayfly_client_close(client);
	return status;
}
