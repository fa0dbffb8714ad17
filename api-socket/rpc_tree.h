/*
 * MessagePack to the tree of values that methods are called with, and back. Bytes come from anybody: how
 * deep they nest, how long they are and how much they claim to hold is limited before it is believed.
 * Pure; any thread.
 */
#pragma once

#include <jansson.h>

#include "base/error.h"

#define RPC_DEPTH_MAX 16u

/* What a message begins with. */
enum rpc_message { RPC_REQUEST, RPC_RESPONSE, RPC_NOTIFICATION };

enum rpc_extent {
	RPC_WHOLE, /* a value is there: *len bytes */
	RPC_PART,  /* what is there may be the beginning of one */
	RPC_LIE,   /* it never will be: no MessagePack, too deep, or longer than max */
};

/* How far the first value of `bytes` goes. On RPC_LIE *why is a reason for people. */
enum rpc_extent rpc_measure(const uint8_t *bytes, size_t count, size_t max, size_t *len,
			    const char **why);

/*
 * The tree of a whole value (RPC_WHOLE). NULL and *err: what JSON has no place for (binary, extensions,
 * keys that are no strings, a key twice, numbers beyond 63 bits, text that is not UTF-8 or holds a NUL),
 * or no memory.
 */
json_t *rpc_tree_read(const uint8_t *bytes, size_t len, struct error *err);

/* Writes a tree; write() is called with each piece, and what it returns is passed on if it is not 0. */
int rpc_tree_write(const json_t *tree, int (*write)(void *to, const char *bytes, size_t len),
		   void *to);
