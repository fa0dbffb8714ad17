#include "cmd/snapshot.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "cmd/exit_codes.h"
#include "cmd/progress_line.h"
#include "snapshot/memory_image.h"
#include "snapshot/memory_layers.h"
#include "snapshot/new_file.h"
#include "vmm/snapshot_info.h"

/* A memory file as its attributes tell of it; empty where it has none. */
struct image {
	const char *path;
	int fd;
	uint64_t size;
	char id[SNAPSHOT_ID_TEXT], parent[SNAPSHOT_ID_TEXT];
};

/* What is there and no id belongs to nothing; but a parent's that is empty says that there is none. */
static int read_attributes(struct image *image, struct error *err)
{
	bool has_id = snapshot_read_attribute(image->fd, SNAPSHOT_ATTRIBUTE, image->id);
	bool has_parent = snapshot_read_attribute(image->fd, SNAPSHOT_PARENT_ATTRIBUTE,
						  image->parent);

	if (has_id && !*image->id)
		return error_set(err, EINVAL, "%s: its attribute %s is no snapshot's id",
				 image->path, SNAPSHOT_ATTRIBUTE);
	if (has_parent && !*image->parent &&
	    fgetxattr(image->fd, SNAPSHOT_PARENT_ATTRIBUTE, NULL, 0) > 0)
		return error_set(err, EINVAL, "%s: its attribute %s is no snapshot's id",
				 image->path, SNAPSHOT_PARENT_ATTRIBUTE);
	return 0;
}

static int open_image(struct image *image, const char *path, struct error *err)
{
	struct stat st;

	image->path = path;
	image->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (image->fd < 0 || fstat(image->fd, &st) < 0)
		return error_set_errno(err, errno, "cannot open %s", path);
	if (!S_ISREG(st.st_mode) || st.st_size == 0 || st.st_size % PAGE_SIZE)
		return error_set(err, EINVAL, "%s is not a memory file", path);
	image->size = (uint64_t)st.st_size;
	return read_attributes(image, err);
}

/* What comes after `below` is a layer of it, as far as the attributes tell. */
static int check_layer(const struct image *below, const struct image *layer, struct error *err)
{
	if (layer->size != below->size)
		return error_set(err, EINVAL, "%s has %lu bytes, but %s has %lu", layer->path,
				 layer->size, below->path, below->size);
	if (*layer->id && !*layer->parent)
		return error_set(err, EINVAL, "%s is not a layer but all of a microVM's memory",
				 layer->path);
	if (*layer->parent && *below->id && strcmp(layer->parent, below->id) != 0)
		return error_set(err, EINVAL,
				 "%s is a layer of snapshot %s, but %s is the memory of %s",
				 layer->path, layer->parent, below->path, below->id);
	return 0;
}

/* It is to be loaded with the state of `id`; and is a layer itself when it has a parent. */
static int set_attributes(int fd, const char *id, const char *parent, const char *path,
			  struct error *err)
{
	if (*id && fsetxattr(fd, SNAPSHOT_ATTRIBUTE, id, strlen(id), 0) < 0)
		return error_set_errno(
			err, errno,
			"%s: its filesystem takes no user attributes, by which a load "
			"knows what was merged",
			path);
	if (*parent && fsetxattr(fd, SNAPSHOT_PARENT_ATTRIBUTE, parent, strlen(parent), 0) < 0)
		return error_set_errno(err, errno, "%s: cannot set an attribute", path);
	return 0;
}

static int add_data_of(struct page_set *set, char **paths, int count, struct error *err)
{
	int ret = 0;

	for (int i = 0; i < count && ret == 0; i++) {
		struct image image = { .fd = -1 };

		ret = open_image(&image, paths[i], err);
		if (ret == 0)
			memory_image_add_data(image.fd, set);
		close_fd(&image.fd);
	}
	return ret;
}

/* Layers make a layer, in which what none of them has must be a hole: on a filesystem with larger blocks it would be
 * zeroes, laid over what is below. */
static int check_holes(const struct new_file *out, uint64_t size, char **paths, int count,
		       struct error *err)
{
	struct page_set wanted = { 0 };
	int ret = page_set_init(&wanted, size / PAGE_SIZE, err);

	if (ret == 0)
		ret = add_data_of(&wanted, paths, count, err);
	if (ret == 0 && memory_layers_data_pages(out->fd, size) != (int64_t)page_set_count(&wanted))
		ret = error_set(err, ENOTSUP,
				"%s: its filesystem does not keep the holes of single pages, so a "
				"layer there would change what has not changed",
				out->path);
	page_set_fini(&wanted);
	return ret;
}

/* Shown while it goes on. */
struct merge_progress {
	struct progress progress;
	struct progress_line line;
};

static void show_progress(struct progress *progress)
{
	struct merge_progress *merge = container_of(progress, struct merge_progress, progress);

	progress_line_show(&merge->line, progress->step, progress->done, progress->total);
}

/* What there is to copy; a file that cannot be opened is told of when its turn comes. */
static uint64_t bytes_of(char **paths, int count)
{
	uint64_t bytes = 0;

	for (int i = 0; i < count; i++) {
		struct image image = { .fd = -1 };

		if (open_image(&image, paths[i], NULL) == 0)
			bytes += memory_layers_bytes(image.fd);
		close_fd(&image.fd);
	}
	return bytes;
}

static int merge_into(struct new_file *out, char **paths, int count, struct progress *progress,
		      struct error *err)
{
	struct image base = { .fd = -1 }, below = { .fd = -1 };
	int ret = 0;

	for (int i = 0; i < count && ret == 0; i++) {
		struct image image = { .fd = -1 };

		if ((ret = open_image(&image, paths[i], err)) == 0 &&
		    (i == 0 || (ret = check_layer(&below, &image, err)) == 0)) {
			ret = memory_layers_lay(image.fd, out->fd, image.size, progress);
			if (ret < 0)
				error_set_errno(err, ret, "cannot copy %s to %s", paths[i],
						out->path);
		}
		close_fd(&image.fd);
		below = image;
		if (i == 0)
			base = image;
	}
	if (ret == 0 && *base.parent)
		ret = check_holes(out, base.size, paths, count, err);
	return ret < 0 ? ret : set_attributes(out->fd, below.id, base.parent, out->path, err);
}

static int merge(char **paths, int count, const char *output, struct error *err)
{
	struct merge_progress progress = { .progress.tell = show_progress };
	struct new_file out;
	int ret = new_file_open(&out, output, err);

	if (ret < 0)
		return ret;
	progress_line_init(&progress.line, false);
	progress_begin(&progress.progress, "copying", bytes_of(paths, count));
	ret = merge_into(&out, paths, count, &progress.progress, err);
	if (ret == 0)
		progress_begin(&progress.progress, "waiting for the disk", 0);
	if (ret == 0 && (ret = new_file_sync(&out, err)) == 0 &&
	    (ret = new_file_rename(&out, err)) == 0)
		ret = new_file_sync_folder(&out, err);
	progress_line_clear(&progress.line);
	new_file_close(&out);
	return ret;
}

int snapshot_merge_main(int argc, char **argv)
{
	static const struct option options[] = { { "output", required_argument, NULL, 'o' },
						 { NULL, 0, NULL, 0 } };
	struct error err = { 0 };
	const char *output = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "o:", options, NULL)) == 'o')
		output = optarg;
	if (option >= 0) /* getopt has said why */
		return EXIT_BAD_ARGUMENTS;
	if (!output || argc - optind < 2) {
		fprintf(stderr, "mayfly: error: snapshot merge: %s\n",
			output ? "a base and at least one layer are needed"
			       : "--output is missing");
		return EXIT_BAD_ARGUMENTS;
	}
	if (merge(argv + optind, argc - optind, output, &err) == 0)
		return EXIT_OK;
	fprintf(stderr, "mayfly: error: snapshot merge: %s\n", err.text);
	return EXIT_BAD_CONFIG;
}
