#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_cmdline.h"
#include "vmm/boot/cmdline.h"

static const struct boot_device devices[] = {
	{ 0xc0001000, 0x1000, 5 },
	{ 0xc0002000, 0x1000, 6 },
};

static void expect(const struct cmdline_config *config, const char *wanted)
{
	char out[LAYOUT_CMDLINE_MAX];
	struct error err = { 0 };

	cr_expect_eq(cmdline_build(out, config, &err), 0, "%s", err.text);
	cr_expect_str_eq(out, wanted);
}

static void expect_text(const char *text, const char *wanted)
{
	const struct cmdline_config config = {
		.text = text,
		.console = true,
		.root = "/dev/vda",
		.devices = devices,
		.device_count = 2,
	};

	expect(&config, wanted);
}

Test(cmdline, adds_what_the_text_does_not_name)
{
	expect_text("", "console=ttyS0 root=/dev/vda rw");
	expect_text("quiet", "quiet console=ttyS0 root=/dev/vda rw");
	expect_text("quiet console=null", "quiet console=null root=/dev/vda rw");
	expect_text("root=/dev/vdb", "root=/dev/vdb console=ttyS0");
	expect_text("root=/dev/vdb ro", "root=/dev/vdb ro console=ttyS0");
	expect_text("ro", "ro console=ttyS0 root=/dev/vda");
	expect_text("rootwait row=1 xro", "rootwait row=1 xro console=ttyS0 root=/dev/vda rw");
	expect_text("netconsole=x", "netconsole=x console=ttyS0 root=/dev/vda rw");
	expect(&(struct cmdline_config){ .text = "a", .root = "/dev/vda", .root_read_only = true },
	       "a root=/dev/vda ro");
	expect(&(struct cmdline_config){ .text = "a rootflags=dax", .root = "/dev/pmem1" },
	       "a rootflags=dax root=/dev/pmem1 rw");
	expect(&(struct cmdline_config){ .text = "a" }, "a");
}

Test(cmdline, names_the_devices_only_without_acpi)
{
	expect_text("acpi=off",
		    "acpi=off console=ttyS0 root=/dev/vda rw virtio_mmio.device=4K@0xc0001000:5 "
		    "virtio_mmio.device=4K@0xc0002000:6");
	expect_text("acpi=offline noacpi=off",
		    "acpi=offline noacpi=off console=ttyS0 root=/dev/vda rw");
	expect_text("x=\" acpi=off \"", "x=\" acpi=off \" console=ttyS0 root=/dev/vda rw");
}

Test(cmdline, adds_before_the_users_dashes)
{
	expect_text("quiet -- acpi=off console=x root=y",
		    "quiet console=ttyS0 root=/dev/vda rw -- acpi=off console=x root=y");
	expect_text("-- sh", "console=ttyS0 root=/dev/vda rw -- sh");
	expect_text("a --", "a console=ttyS0 root=/dev/vda rw --");
	expect_text("a=-- --b", "a=-- --b console=ttyS0 root=/dev/vda rw");
}

Test(cmdline, quotes_what_has_white_space)
{
	static const char *const args[] = { "echo", "", "two words", "a=b c", "\xc3\xa0", "x" };

	expect(&(struct cmdline_config){ .text = "q -- sh",
					 .init_args = args,
					 .init_arg_count = 6 },
	       "q -- sh echo \"\" \"two words\" \"a=b c\" \"\xc3\xa0\" x");
	expect(&(struct cmdline_config){ .text = "q ", .init_args = args, .init_arg_count = 1 },
	       "q -- echo");
}

Test(cmdline, has_word_sees_what_the_kernel_sees)
{
	cr_expect(cmdline_has_word("acpi=off", "acpi=off"));
	cr_expect(cmdline_has_word("a\tacpi=off\tb", "acpi=off"));
	cr_expect(cmdline_has_word("\"acpi=off\"", "acpi=off"));
	cr_expect(cmdline_has_word("acpi=\"off\"", "acpi=off"));
	cr_expect(cmdline_has_word("a\240ro\240b", "ro"));
	cr_expect_not(cmdline_has_word("acpi=off,x", "acpi=off"));
	cr_expect_not(cmdline_has_word("xacpi=off", "acpi=off"));
	cr_expect_not(cmdline_has_word("-- acpi=off", "acpi=off"));
	cr_expect_not(cmdline_has_word("\"--\" acpi=off", "acpi=off"));
	cr_expect_not(cmdline_has_word("a=\"b acpi=off\"", "acpi=off"));
	cr_expect_not(cmdline_has_word("ro=1", "ro"));
	cr_expect_not(cmdline_has_word("", "ro"));
	cr_expect(cmdline_has_param("console=", "console"));
	cr_expect_not(cmdline_has_param("console", "console"));
	cr_expect_not(cmdline_has_param("=console", "console"));
}

static void expect_refusal(const struct cmdline_config *config, int code, const char *sentence)
{
	char out[LAYOUT_CMDLINE_MAX];
	struct error err = { 0 };

	cr_expect_eq(cmdline_build(out, config, &err), code, "%s", sentence);
	cr_expect(strstr(err.text, sentence), "%s: %s", sentence, err.text);
}

static void refuse_text(const char *text, int code, const char *sentence)
{
	expect_refusal(&(struct cmdline_config){ .text = text }, code, sentence);
}

static void refuse_arg(const char *arg, const char *sentence)
{
	const char *args[] = { "fine", arg };

	expect_refusal(
		&(struct cmdline_config){ .text = "", .init_args = args, .init_arg_count = 2 },
		-EINVAL, sentence);
}

Test(cmdline, refuses_what_it_cannot_carry)
{
	refuse_text("a\nb", -EINVAL, "kernel command line: has a newline");
	refuse_text("a=\"b", -EINVAL, "has a double quote that is never closed");
	refuse_text("a -- b -- c", -EINVAL, "has a second --");
	refuse_arg("say \"hi\"", "argument 2 of init (say \"hi\") has a double quote");
	refuse_arg("a\nb", "argument 2 of init (a?b) has a newline");
	refuse_arg("--", "argument 2 of init (--) is --");
}

Test(cmdline, refuses_more_arguments_than_init_can_take)
{
	const char *args[33];

	for (size_t i = 0; i < ARRAY_SIZE(args); i++)
		args[i] = "x";
	expect_refusal(
		&(struct cmdline_config){ .text = "", .init_args = args, .init_arg_count = 33 },
		-E2BIG, "33 arguments for init; a kernel panics with more than 32");
	expect_refusal(&(struct cmdline_config){ .text = "-- y z",
						 .init_args = args,
						 .init_arg_count = 31 },
		       -E2BIG, "33 arguments for init");
	expect(&(struct cmdline_config){ .text = "-- y", .init_args = args, .init_arg_count = 1 },
	       "-- y x");
}

Test(cmdline, refuses_what_is_too_long_and_says_how_long)
{
	char text[LAYOUT_CMDLINE_MAX + 1], out[LAYOUT_CMDLINE_MAX];

	memset(text, 'x', sizeof(text));
	text[2047] = '\0';
	cr_expect_eq(cmdline_build(out, &(struct cmdline_config){ .text = text }, NULL), 0);
	cr_expect_str_eq(out, text);
	text[2047] = 'x';
	text[2048] = '\0';
	refuse_text(text, -E2BIG, "is 2048 bytes with all that is added to it, at most 2047");
	text[2040] = '\0';
	expect_refusal(&(struct cmdline_config){ .text = text, .console = true }, -E2BIG,
		       "is 2054 bytes");
}

/* Whatever can be carried arrives: random words through our builder and the kernel's parser. */
Test(cmdline, init_gets_its_arguments_exactly)
{
	static const char alphabet[] = "ab=-.\t \v\240\377'$\\/";

	srandom(1);
	for (int round = 0; round < 20000; round++) {
		unsigned int count = (unsigned int)random() % 5;
		char words[5][8], out[LAYOUT_CMDLINE_MAX];
		const char *args[5];
		struct kernel_cmdline seen;
		struct error err = { 0 };
		struct cmdline_config config = {
			.text = "quiet x=\"y z\"",
			.console = true,
			.init_args = args,
			.init_arg_count = count,
		};

		for (unsigned int i = 0; i < count; i++) {
			size_t len = (size_t)random() % sizeof(words[i]);

			for (size_t c = 0; c < len; c++)
				words[i][c] = alphabet[(size_t)random() % (sizeof(alphabet) - 1)];
			words[i][len] = '\0';
			args[i] = words[i];
		}
		if (cmdline_build(out, &config, &err)) {
			cr_assert(strstr(err.text, "(--) is --"), "%s", err.text);
			continue;
		}
		cr_assert(kernel_cmdline_parse(out, &seen), "%s", out);
		cr_assert_eq(seen.init_count, count, "%s", out);
		for (unsigned int i = 0; i < count; i++)
			cr_assert_str_eq(seen.init[i], args[i], "%s", out);
	}
}
