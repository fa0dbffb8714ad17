#include "virtio/blk_file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/log.h"

/* "drive vda: /x" or "drive vda: descriptor 7". */
struct label {
	char text[320];
};

static void make_label(struct label *label, const char *drive, const char *path, int fd)
{
	if (path)
		snprintf(label->text, sizeof(label->text), "drive %s: %s", drive, path);
	else
		snprintf(label->text, sizeof(label->text), "drive %s: descriptor %d", drive, fd);
}

static const char *kind_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "a directory";
	case S_IFIFO:
		return "a FIFO";
	case S_IFCHR:
		return "a character device";
	case S_IFSOCK:
		return "a socket";
	default:
		return "something else";
	}
}

/* The size in bytes, whole sectors or not. */
static int read_size(const struct blk_file *file, uint64_t *size)
{
	struct stat st;

	*size = 0;
	if (file->is_block)
		return ioctl(file->fd, BLKGETSIZE64, size) < 0 ? -errno : 0;
	if (fstat(file->fd, &st) < 0)
		return -errno;
	*size = (uint64_t)st.st_size;
	return 0;
}

/* Cutting a file to what direct I/O reaches would hide its end, where partition tables and
 * filesystems have a copy of their beginning; so a rest is an error. One of less than a sector
 * no guest can ask for. */
static int set_size(struct blk_file *file, uint64_t size, const struct label *label,
		    struct error *err)
{
	if (!is_aligned(align_down(size, BLK_SECTOR), file->io_align))
		return error_set(err, EINVAL,
				 "%s: its %lu bytes are no multiple of %u, the unit of direct I/O "
				 "there; leave direct=on out",
				 label->text, size, file->io_align);
	file->size = align_down(size, BLK_SECTOR);
	if (file->size != size)
		log_info("%s: %lu bytes are no multiple of %u; the last %lu are not used",
			 label->text, size, BLK_SECTOR, size - file->size);
	return 0;
}

/*
 * Non-blocking would have io_uring fail with EAGAIN what it should finish in the background. It
 * is set only while opening, where a FIFO would wait for its other end; a descriptor that was
 * passed to us may have it too.
 */
static int check_flags(struct blk_file *file, bool direct, const struct label *label,
		       struct error *err)
{
	const int flags = fcntl(file->fd, F_GETFL);
	const int wanted = (flags & ~O_NONBLOCK) | (direct ? O_DIRECT : 0);

	if (flags < 0)
		return error_set_errno(err, errno, "%s", label->text);
	if (flags & O_PATH)
		return error_set(err, EBADF, "%s: is a path only, not open for I/O", label->text);
	if ((flags & O_ACCMODE) == O_WRONLY)
		return error_set(err, EBADF, "%s: is not open for reading", label->text);
	if (!file->read_only && (flags & O_ACCMODE) == O_RDONLY)
		return error_set(err, EBADF, "%s: is not open for writing", label->text);
	if (flags & O_APPEND)
		return error_set(err, EINVAL, "%s: is open for appending", label->text);
	/* O_DIRECT is set here and not by open(), which would refuse before we could say why. */
	if (wanted != flags && fcntl(file->fd, F_SETFL, wanted) < 0)
		return errno == EINVAL && direct
			       ? error_set(err, EINVAL,
					   "%s: its filesystem has no direct I/O (O_DIRECT); leave "
					   "direct=on out",
					   label->text)
			       : error_set_errno(err, errno, "%s", label->text);
	file->direct = wanted & O_DIRECT;
	return 0;
}

/* Linux opens such a device for writing all the same and fails each write. */
static int check_device_writable(const struct blk_file *file, const struct label *label,
				 struct error *err)
{
	int is_read_only = 0;

	if (!file->is_block || file->read_only || ioctl(file->fd, BLKROGET, &is_read_only) < 0 ||
	    !is_read_only)
		return 0;
	return error_set(
		err, EROFS,
		"%s: the device cannot be written to; a drive that is only read (:ro) would do",
		label->text);
}

static int examine(struct blk_file *file, bool direct, const struct label *label, struct error *err)
{
	struct stat st;
	uint64_t size;
	int ret;

	if (fstat(file->fd, &st) < 0)
		return error_set_errno(err, errno, "%s: cannot look at it", label->text);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return error_set(err, EINVAL, "%s: is %s, not a regular file or a block device",
				 label->text, kind_of(st.st_mode));
	file->is_block = S_ISBLK(st.st_mode);
	ret = check_flags(file, direct, label, err);
	if (ret < 0)
		return ret;
	ret = check_device_writable(file, label, err);
	if (ret < 0)
		return ret;
	ret = read_size(file, &size);
	if (ret < 0)
		return error_set_errno(err, ret, "%s: cannot tell its size", label->text);
	ret = blk_file_limits(file, size, (uint32_t)st.st_blksize);
	if (ret < 0)
		return error_set(err, ret,
				 "%s: no direct I/O (O_DIRECT) on this file; leave "
				 "direct=on out",
				 label->text);
	return set_size(file, size, label, err);
}

/* Where only the writing is not allowed, that is what to say. */
static int refuse_open(const struct blk_file_params *params, int cause, struct error *err)
{
	cleanup_fd int fd = -1;

	if (!params->read_only && (cause == EACCES || cause == EROFS))
		fd = retry_eintr(open(params->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
	return error_set_errno(
		err, cause, "drive %s: cannot open %s%s", params->drive, params->path,
		fd < 0 ? "" : " for writing; a drive that is only read (:ro) would do");
}

int blk_file_open(struct blk_file *file, const struct blk_file_params *params, struct error *err)
{
	const int mode = params->read_only ? O_RDONLY : O_RDWR;
	struct label label;
	int ret;

	make_label(&label, params->drive, params->path, params->fd);
	*file = (struct blk_file){ .fd = params->fd, .read_only = params->read_only };
	snprintf(file->drive, sizeof(file->drive), "%s", params->drive);
	if (params->path)
		file->fd =
			retry_eintr(open(params->path, mode | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
	if (params->path && file->fd < 0)
		return refuse_open(params, errno, err);
	ret = examine(file, params->direct, &label, err);
	if (ret < 0)
		blk_file_close(file);
	return ret;
}

void blk_file_close(struct blk_file *file)
{
	close_fd(&file->fd);
}
