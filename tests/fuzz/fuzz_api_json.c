/* A method's number, then a text: JSON to a tree to each method's struct, and the words and places of what is
 * refused. */
#include <string.h>

#include "api-socket/json_text.h"
#include "api-socket/method.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void show_again(const struct field_set *set, void *request)
{
	json_t *shown = fields_encode(set, request);
	struct field_error why = { 0 };
	cleanup_free void *again = calloc(1, set->size);

	/* What was taken and is shown can be taken again. */
	if (!shown || !again)
		abort();
	if (!set->whole && fields_decode(set, shown, NULL, again, &why) == 0)
		fields_free(set, again);
	json_decref(shown);
}

static void decode(const struct field_set *set, json_t *tree, const char *text, size_t len)
{
	cleanup_free void *request = calloc(1, set->size);
	struct field_error why = { 0 };
	struct error err = { 0 };

	if (fields_decode(set, tree, NULL, request, &why) == 0) {
		show_again(set, request);
		fields_free(set, request);
		return;
	}
	json_text_explain(text, len, &why, &err);
	if (!err.text[0])
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct method *method = size ? method_at(data[0]) : NULL;
	struct error err = { 0 };
	json_t *tree;
	char *text;

	if (!method || !method->fields)
		return 0;
	text = malloc(size); /* of this length exactly: a byte too far is seen */
	memcpy(text, data + 1, size - 1);
	tree = json_text_read(text, size - 1, &err);
	if (tree)
		decode(method->fields, tree, text, size - 1);
	else if (!err.text[0] ||
		 (json_text_refused_before(text, size - 1, method->fields, &err) && !err.text[0]))
		abort();
	json_decref(tree);
	free(text);
	return 0;
}
