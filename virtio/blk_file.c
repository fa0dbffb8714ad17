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

static int measure(struct blk_file *file, const struct label *label, struct error *err)
{
	struct stat st;
	uint64_t size;

	if (fstat(file->fd, &st) < 0)
		return error_set_errno(err, errno, "%s: cannot look at it", label->text);
	if (S_ISREG(st.st_mode)) {
		size = (uint64_t)st.st_size;
	} else if (S_ISBLK(st.st_mode)) {
		if (ioctl(file->fd, BLKGETSIZE64, &size) < 0)
			return error_set_errno(err, errno, "%s: cannot tell its size", label->text);
	} else {
		return error_set(err, EINVAL, "%s: is %s, not a regular file or a block device",
				 label->text, kind_of(st.st_mode));
	}
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
static int check_flags(int fd, bool read_only, const struct label *label, struct error *err)
{
	const int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return error_set_errno(err, errno, "%s", label->text);
	if (flags & O_PATH)
		return error_set(err, EBADF, "%s: is a path only, not open for I/O", label->text);
	if ((flags & O_ACCMODE) == O_WRONLY)
		return error_set(err, EBADF, "%s: is not open for reading", label->text);
	if (!read_only && (flags & O_ACCMODE) == O_RDONLY)
		return error_set(err, EBADF, "%s: is not open for writing", label->text);
	if (flags & O_APPEND)
		return error_set(err, EINVAL, "%s: is open for appending", label->text);
	if (flags & O_NONBLOCK && fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return error_set_errno(err, errno, "%s", label->text);
	return 0;
}

int blk_file_open(struct blk_file *file, const char *drive, const char *path, int fd,
		  bool read_only, struct error *err)
{
	const int mode = read_only ? O_RDONLY : O_RDWR;
	struct label label;
	int ret;

	make_label(&label, drive, path, fd);
	*file = (struct blk_file){ .fd = fd, .read_only = read_only };
	if (path)
		file->fd = retry_eintr(open(path, mode | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
	if (path && file->fd < 0)
		return error_set_errno(err, errno, "drive %s: cannot open %s", drive, path);

	ret = measure(file, &label, err);
	if (ret == 0)
		ret = check_flags(file->fd, read_only, &label, err);
	if (ret < 0)
		blk_file_close(file);
	return ret;
}

void blk_file_close(struct blk_file *file)
{
	close_fd(&file->fd);
}
