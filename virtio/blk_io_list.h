/* Requests in the order they came, linked through themselves. No lock: its owner's. */
#pragma once

#include "virtio/blk_backend.h"

struct blk_io_list {
	struct blk_io *head;
	struct blk_io **tail;
};

static inline void blk_io_list_init(struct blk_io_list *list)
{
	list->head = NULL;
	list->tail = &list->head;
}

static inline void blk_io_list_add(struct blk_io_list *list, struct blk_io *io)
{
	io->next = NULL;
	*list->tail = io;
	list->tail = &io->next;
}

/* The first one; there must be one. */
static inline struct blk_io *blk_io_list_take(struct blk_io_list *list)
{
	struct blk_io *io = list->head;

	list->head = io->next;
	if (!list->head)
		list->tail = &list->head;
	return io;
}
