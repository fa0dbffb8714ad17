/* docs/protocol.md is what the method table says. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "api-socket/describe.h"

Test(describe, the_protocol_on_paper_is_the_one_in_the_program)
{
	FILE *file = fopen("docs/protocol.md", "re");
	char *made = NULL, *kept;
	size_t len = 0, got;
	FILE *out = open_memstream(&made, &len);

	cr_assert(file && out);
	describe_protocol(out);
	fclose(out);
	kept = calloc(1, len + 2);
	got = fread(kept, 1, len + 1, file);
	fclose(file);
	cr_expect(got == len && memcmp(kept, made, len) == 0,
		  "docs/protocol.md is out of date: make docs/protocol.md");
	free(kept);
	free(made);
}

Test(describe, every_method_says_what_it_does)
{
	json_t *list = describe_methods(), *method, *field;
	size_t i, j;

	cr_assert_gt(json_array_size(list), 10);
	json_array_foreach(list, i, method)
	{
		cr_expect_gt(strlen(json_string_value(json_object_get(method, "help"))), 0, "%s",
			     json_string_value(json_object_get(method, "name")));
		cr_expect_str_neq(json_string_value(json_object_get(method, "allowed")),
				  "at some times", "%s",
				  json_string_value(json_object_get(method, "name")));
		json_array_foreach(json_object_get(method, "fields"), j, field)
			cr_expect_gt(strlen(json_string_value(json_object_get(field, "help"))), 0,
				     "%s of %s", json_string_value(json_object_get(field, "name")),
				     json_string_value(json_object_get(method, "name")));
	}
	json_decref(list);
	cr_expect_str_eq(describe_phases(method_by_name("snapshot.load")->phases),
			 "before the start, or once prepared");
	cr_expect_str_eq(describe_phases(PHASES_ALL), "any time");
	cr_expect_str_eq(describe_phases(0), "at some times");
}
