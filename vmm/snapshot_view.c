#include "vmm/snapshot_view.h"

#include <fcntl.h>

static int read_sections(struct snapshot_view *view, struct error *err)
{
	const struct state_file *state = &view->state;
	struct cpuid_state *cpuid cleanup_free = malloc(sizeof(*cpuid));
	int ret;

	if (!cpuid)
		return error_set(err, ENOMEM, "snapshot: out of memory");
	if ((ret = state_file_get(state, &snapshot_info_desc, 0, &view->info, err)) < 0 ||
	    (ret = state_file_get(state, &saved_config_desc, 0, &view->config, err)) < 0 ||
	    (ret = state_file_get(state, &vcpu_state_desc, 0, &view->vcpu, err)) < 0 ||
	    (ret = state_file_get(state, &cpuid_state_desc, 0, cpuid, err)) < 0)
		return ret;
	cpuid_from_state(cpuid, &view->cpuid);
	return 0;
}

int snapshot_view_open(struct snapshot_view **out, const char *path, struct error *err)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct snapshot_view *view;
	int ret;

	if (fd < 0)
		return error_set_errno(err, errno, "snapshot: cannot open %s", path);
	view = calloc(1, sizeof(*view));
	if (!view)
		return error_set(err, ENOMEM, "snapshot: out of memory");
	ret = state_file_read(&view->state, fd, path, err);
	if (ret == 0) {
		ret = read_sections(view, err);
		if (ret < 0)
			state_file_fini(&view->state);
	}
	if (ret < 0)
		free(view);
	else
		*out = view;
	return ret;
}

void snapshot_view_close(struct snapshot_view *view)
{
	if (!view)
		return;
	state_file_fini(&view->state);
	free(view);
}
