#include <stdio.h>
#include <string.h>

#include "jailer/jail_priv.h"

/* Backwards. Without privileges nothing can be undone; then the text says what removes it. */
static void undo(struct jail_plan *plan, unsigned int count, struct error *err)
{
	struct jail *jail = &plan->jail;

	if (jail->unprivileged) {
		size_t used = strlen(err->text);

		snprintf(err->text + used, sizeof(err->text) - used,
			 "; what was made so far is left, `mayfly-jailer cleanup --id %s` removes "
			 "it",
			 jail->options->id);
		return;
	}
	for (unsigned int i = count; i-- > 0;)
		if (plan->steps[i].ops->undo)
			plan->steps[i].ops->undo(jail, &plan->steps[i]);
}

int jail_run(struct jail_plan *plan, struct error *err)
{
	for (unsigned int i = 0; i < plan->count; i++) {
		struct jail_step *step = &plan->steps[i];
		int ret = step->ops->act(&plan->jail, step, err);

		if (ret == 0)
			continue;
		/* What a step made before it failed is its own to undo, or recorded like the rest. */
		undo(plan, i + (step->held >= 0), err);
		jail_report(&plan->jail, false);
		return ret;
	}
	return error_set(err, EINVAL, "a plan without a program");
}
