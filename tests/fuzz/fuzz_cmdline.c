/*
 * The command line, against the kernel's way of reading it: what is built is read as it was meant,
 * and what the kernel would read otherwise is refused. The input is strings that end with a zero:
 * the user's text, then arguments of init. Empty: no text and no arguments.
 */
#include <stdint.h>
#include <stdio.h>

#include "tests/fuzz/expect.h"
#include "tests/unit/kernel_cmdline.h"
#include "vmm/boot/cmdline.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ARGS_MAX 40u

static const struct boot_device device = { 0xc0001000, 0x1000, 5 };

static bool kernel_has(const struct kernel_cmdline *seen, const char *word, size_t len)
{
	for (unsigned int i = 0; i < seen->word_count; i++)
		if (!strncmp(seen->words[i], word, len) &&
		    (!seen->words[i][len] || word[len - 1] == '='))
			return true;
	return false;
}

static void check(const struct cmdline_config *config, const char *out)
{
	static struct kernel_cmdline text, built;
	unsigned int own;
	bool has_acpi_off;

	expect(strlen(out) < LAYOUT_CMDLINE_MAX);
	expect(kernel_cmdline_parse(config->text, &text));
	expect(kernel_cmdline_parse(out, &built));

	/* Every word of the user's arrives, in its order and place. */
	expect(built.word_count >= text.word_count);
	for (unsigned int i = 0; i < text.word_count; i++)
		expect(!strcmp(text.words[i], built.words[i]));
	own = text.init_count;
	expect(built.init_count == own + config->init_arg_count);
	for (unsigned int i = 0; i < own; i++)
		expect(!strcmp(text.init[i], built.init[i]));
	for (unsigned int i = 0; i < config->init_arg_count; i++)
		expect(!strcmp(config->init_args[i], built.init[own + i]));

	/* And ours do where they are wanted. */
	has_acpi_off = kernel_has(&text, "acpi=off", 8);
	expect(cmdline_has_word(config->text, "acpi=off") == has_acpi_off);
	expect(kernel_has(&built, "console=", 8));
	expect(kernel_has(&built, "root=", 5));
	expect(kernel_has(&text, "console=", 8) == cmdline_has_param(config->text, "console"));
	expect(!has_acpi_off || kernel_has(&built, "virtio_mmio.device=4K@0xc0001000:5", 34));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *input = malloc(size + 2);
	char out[LAYOUT_CMDLINE_MAX];
	const char *args[ARGS_MAX];
	struct cmdline_config config = {
		.text = input,
		.console = true,
		.root = "/dev/vda",
		.devices = &device,
		.device_count = 1,
		.init_args = args,
	};
	struct error err = { 0 };
	size_t at;
	int ret;

	expect(input);
	if (size)
		memcpy(input, data, size);
	input[size] = '\0';
	for (at = strlen(input) + 1; at < size && config.init_arg_count < ARGS_MAX;
	     at += strlen(input + at) + 1)
		args[config.init_arg_count++] = input + at;

	ret = cmdline_build(out, &config, &err);
	expect(ret == 0 || (ret == err.code && ret < 0 && strlen(err.text) > 20));
	expect(ret == 0 || size);
	if (!ret)
		check(&config, out);
	return 0;
}
