#include "vmm/vmgenid.h"

#include <errno.h>
#include <sys/random.h>

static const struct state_field fields[] = {
	STATE_FIELD(struct vmgenid_state, gpa, STATE_U64, 1),
};

const struct state_desc vmgenid_state_desc = STATE_DESC("vmgenid", struct vmgenid_state, 1, fields);

int vmgenid_renew(const struct vmgenid *gen, struct guest_memory *mem, struct error *err)
{
	uint8_t id[VMGENID_SIZE];

	if (!gen->gpa)
		return 0;
	if (getrandom(id, sizeof(id), 0) != (ssize_t)sizeof(id))
		return error_set_errno(err, errno, "vmgenid: no random number to be had");
	if (guest_write(mem, gen->gpa, id, sizeof(id)) < 0)
		return error_set(err, EINVAL, "vmgenid: no guest memory at %#lx", gen->gpa);
	return 0;
}

void vmgenid_notify(const struct vmgenid *gen)
{
	if (gen->gpa)
		irq_line_raise(gen->irq);
}
