/* PUT /cpu-config: a custom CPU. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "api-socket/methods.h"
#include "vmm/cpu_template.h"

struct register_request {
	bool given;
	const char *name, *bitmap;
};

struct leaf_request {
	bool given;
	const char *leaf, *subleaf;
	struct opt_uint flags;
	struct opt_list modifiers; /* struct register_request */
};

struct msr_request {
	bool given;
	const char *addr, *bitmap;
};

struct cpu_request {
	bool given;
	struct opt_list kvm_capabilities; /* const char * */
	struct opt_list cpuid_modifiers;  /* struct leaf_request */
	struct opt_list msr_modifiers;	  /* struct msr_request */
};

/* Texts to numbers ------------------------------------------------------------------------------*/

/* "0x1f" or "0b101", up to `bits` wide. */
static int parse_number(const char *text, unsigned int bits, uint64_t *out, char *why, size_t size)
{
	unsigned int shift = strncmp(text, "0x", 2) == 0 ? 4 : strncmp(text, "0b", 2) == 0 ? 1 : 0;
	const char *problem = text[0] && !text[2] ? "Empty" : NULL;
	uint64_t value = 0;

	if (!shift) {
		snprintf(why, size,
			 "No supported number system prefix found in value [%.60s]. Make sure to "
			 "prefix the number with '0x' for hexadecimal numbers or '0b' for binary "
			 "numbers.",
			 text);
		return -EINVAL;
	}
	for (const char *c = text + 2; *c && !problem; c++) {
		bool fits = shift == 4 ? isxdigit((unsigned char)*c) : *c == '0' || *c == '1';
		uint64_t digit = isdigit((unsigned char)*c)
					 ? (uint64_t)(*c - '0')
					 : (uint64_t)(tolower((unsigned char)*c) - 'a') + 10;

		if (!fits)
			problem = "InvalidDigit";
		else if (value >> (bits - shift))
			problem = "PosOverflow";
		value = value << shift | digit;
	}
	*out = value;
	if (!problem)
		return 0;
	snprintf(why, size,
		 "Failed to parse string [%.60s] as a number for CPU template - ParseIntError { "
		 "kind: %s }",
		 text, problem);
	return -EINVAL;
}

/* "0b1x0": each character a bit, the last one bit 0; x leaves it as it is, as do those that are not
 * there; _ stands for nothing. */
static int parse_bitmap(const char *text, unsigned int bits, struct bit_modifier *out, char *why,
			size_t size)
{
	const char *digits = strncmp(text, "0b", 2) == 0 ? text + 2 : text;
	unsigned int count = 0;

	*out = (struct bit_modifier){ 0 };
	for (const char *c = digits; *c; c++) {
		if (*c == '_')
			continue;
		if (*c != '0' && *c != '1' && *c != 'x') {
			snprintf(why, size,
				 "Failed to parse string [%.60s] as a bitmap - unknown character: "
				 "%u",
				 text, (unsigned char)*c);
			return -EINVAL;
		}
		if (++count > bits) {
			snprintf(why, size,
				 "Failed to parse string [%.100s] as a bitmap - string is too long",
				 text);
			return -EINVAL;
		}
		out->filter = out->filter << 1 | (*c != 'x');
		out->value = out->value << 1 | (*c == '1');
	}
	return 0;
}

static int parse_register(const char *text, enum cpuid_register *out)
{
	static const char *const names[CPUID_REGISTERS] = { "eax", "ebx", "ecx", "edx" };

	for (unsigned int i = 0; i < CPUID_REGISTERS; i++)
		if (strcmp(text, names[i]) == 0) {
			*out = i;
			return 0;
		}
	return -EINVAL;
}

/* "171": the host must have it; "!171": it need not, whatever a template before said. */
static int parse_capability(const char *text, uint32_t *out, char *why, size_t size)
{
	const char *digits = text + (*text == '!');
	const char *problem = *digits ? NULL : "cannot parse integer from empty string";
	uint64_t value = 0;

	for (const char *c = digits; *c && !problem; c++) {
		if (!isdigit((unsigned char)*c))
			problem = "invalid digit found in string";
		value = value * 10 + (uint64_t)(*c - '0');
		if (!problem && value > UINT32_MAX)
			problem = "number too large to fit in target type";
	}
	*out = (uint32_t)value;
	if (!problem)
		return 0;
	snprintf(why, size,
		 "Failed to parse string [%.60s] as a kvm capability - can not convert to numeric: "
		 "%s",
		 text, problem);
	return -EINVAL;
}

static int check_number(const char *text, char *why, size_t size)
{
	uint64_t value;

	return parse_number(text, 32, &value, why, size);
}

static int check_bitmap_32(const char *text, char *why, size_t size)
{
	struct bit_modifier bits;

	return parse_bitmap(text, 32, &bits, why, size);
}

static int check_bitmap_64(const char *text, char *why, size_t size)
{
	struct bit_modifier bits;

	return parse_bitmap(text, 64, &bits, why, size);
}

static int check_register(const char *text, char *why, size_t size)
{
	enum cpuid_register reg;

	snprintf(why, size, "Invalid CPUID register. Must be one of [eax, ebx, ecx, edx]");
	return parse_register(text, &reg);
}

static int check_capability(const char *text, char *why, size_t size)
{
	uint32_t capability;

	return parse_capability(text, &capability, why, size);
}

/* Tables ----------------------------------------------------------------------------------------*/

static const struct field register_table[] = {
	{ .name = "register",
	  .type = FIELD_STRING,
	  .need = FIELD_REQUIRED,
	  .offset = offsetof(struct register_request, name),
	  .check = check_register,
	  .help = "eax, ebx, ecx or edx" },
	FIELD(struct register_request, bitmap, FIELD_STRING, FIELD_REQUIRED,
	      .check = check_bitmap_32, .help = "0b and 0, 1 or x (as it is) for each bit"),
};

static const struct field_set register_fields = FIELD_SET(
	"CpuidRegisterModifier", struct register_request, register_table, .lenient = true);

static const struct field leaf_table[] = {
	FIELD(struct leaf_request, leaf, FIELD_STRING, FIELD_REQUIRED, .check = check_number,
	      .help = "0x or 0b and a number"),
	FIELD(struct leaf_request, subleaf, FIELD_STRING, FIELD_REQUIRED, .check = check_number,
	      .help = "0x or 0b and a number"),
	FIELD(struct leaf_request, flags, FIELD_U32, FIELD_REQUIRED,
	      .help = "KVM's, of no effect: the host's leaf has its own"),
	FIELD(struct leaf_request, modifiers, FIELD_LIST, FIELD_REQUIRED, .sub = &register_fields,
	      .help = "what changes in its registers"),
};

static const struct field_set leaf_fields = FIELD_SET("CpuidLeafModifier", struct leaf_request,
						      leaf_table, .lenient = true);

static const struct field msr_table[] = {
	FIELD(struct msr_request, addr, FIELD_STRING, FIELD_REQUIRED, .check = check_number,
	      .help = "0x or 0b and a number"),
	FIELD(struct msr_request, bitmap, FIELD_STRING, FIELD_REQUIRED, .check = check_bitmap_64,
	      .help = "0b and 0, 1 or x (as it is) for each bit"),
};

static const struct field_set msr_fields = FIELD_SET("RegisterModifier", struct msr_request,
						     msr_table, .lenient = true);

static const struct field cpu_table[] = {
	FIELD(struct cpu_request, kvm_capabilities, FIELD_STRINGS, FIELD_DEFAULTED,
	      .check = check_capability, .help = "what KVM must offer"),
	FIELD(struct cpu_request, cpuid_modifiers, FIELD_LIST, FIELD_DEFAULTED, .sub = &leaf_fields,
	      .help = "what changes in CPUID"),
	FIELD(struct cpu_request, msr_modifiers, FIELD_LIST, FIELD_DEFAULTED, .sub = &msr_fields,
	      .help = "what changes in MSRs"),
};

static const struct field_set cpu_fields = FIELD_SET("CustomCpuTemplate", struct cpu_request,
						     cpu_table);

/* Requests to a template ------------------------------------------------------------------------*/

void cpu_template_clear(struct cpu_template *cpu)
{
	free(cpu->cpuid);
	free(cpu->msrs);
	free(cpu->capabilities);
	*cpu = (struct cpu_template){ 0 };
}

/* Every text was checked by the tables. */
static void fill_leaf(struct cpuid_modifier *out, const struct leaf_request *leaf)
{
	const struct register_request *registers = leaf->modifiers.items;
	uint64_t number = 0;
	char why[200];

	*out = (struct cpuid_modifier){ 0 };
	if (parse_number(leaf->leaf, 32, &number, why, sizeof(why)) == 0)
		out->leaf = (uint32_t)number;
	if (parse_number(leaf->subleaf, 32, &number, why, sizeof(why)) == 0)
		out->subleaf = (uint32_t)number;
	for (uint32_t i = 0; i < leaf->modifiers.count; i++) {
		enum cpuid_register reg = CPUID_EAX;

		if (parse_register(registers[i].name, &reg) == 0)
			(void)!parse_bitmap(registers[i].bitmap, 32, &out->registers[reg], why,
					    sizeof(why));
	}
}

static void fill_msr(struct msr_modifier *out, const struct msr_request *msr)
{
	uint64_t number = 0;
	char why[200];

	*out = (struct msr_modifier){ 0 };
	if (parse_number(msr->addr, 32, &number, why, sizeof(why)) == 0)
		out->index = (uint32_t)number;
	(void)!parse_bitmap(msr->bitmap, 64, &out->bits, why, sizeof(why));
}

static void fill_capabilities(struct cpu_template *out, const struct opt_list *list)
{
	char why[200];

	for (uint32_t i = 0; i < list->count; i++) {
		const char *text = ((const char *const *)list->items)[i];

		if (*text != '!' &&
		    parse_capability(text, &out->capabilities[out->capability_count], why,
				     sizeof(why)) == 0)
			out->capability_count++;
	}
}

static int make_template(struct cpu_template *out, const struct cpu_request *cpu)
{
	*out = (struct cpu_template){
		.cpuid = calloc(cpu->cpuid_modifiers.count + 1, sizeof(*out->cpuid)),
		.msrs = calloc(cpu->msr_modifiers.count + 1, sizeof(*out->msrs)),
		.capabilities = calloc(cpu->kvm_capabilities.count + 1, sizeof(*out->capabilities)),
	};
	if (!out->cpuid || !out->msrs || !out->capabilities) {
		cpu_template_clear(out);
		return -ENOMEM;
	}
	for (; out->cpuid_count < cpu->cpuid_modifiers.count; out->cpuid_count++)
		fill_leaf(&out->cpuid[out->cpuid_count],
			  (const struct leaf_request *)cpu->cpuid_modifiers.items +
				  out->cpuid_count);
	for (; out->msr_count < cpu->msr_modifiers.count; out->msr_count++)
		fill_msr(&out->msrs[out->msr_count],
			 (const struct msr_request *)cpu->msr_modifiers.items + out->msr_count);
	fill_capabilities(out, &cpu->kvm_capabilities);
	return 0;
}

static int put_cpu(struct controller *controller, struct api_request *request,
		   struct api_reply *reply)
{
	struct cpu_template cpu;

	if (make_template(&cpu, request->data) < 0)
		return error_set(&reply->err, ENOMEM, "out of memory");
	cpu_template_clear(&controller->cpu);
	controller->cpu = cpu;
	return 0;
}

static const struct method methods[] = {
	{
		.name = "cpu.put",
		.metric = "cpu_cfg",
		.verb = API_PUT,
		.path = "cpu-config",
		.phases = PHASES_BEFORE,
		.fields = &cpu_fields,
		.handle = put_cpu,
		.help = "Changes what the guest sees of its processor",
	},
};

const struct method_group cpu_methods = METHOD_GROUP(methods);
