/*
 * The metadata service of a microVM (MMDS): data that the host puts and the guest reads by HTTP at a
 * link-local address. One `struct mmds` a process: it exists before the machine (data may be put
 * before boot) and outlives it; each network device that the guest may reach it by has a `struct
 * mmds_net` of its own.
 *
 * A snapshot may hold the configuration (mmds_config_desc). It never holds the data and the key of the
 * tokens: a clone is somebody else.
 */
#pragma once

#include <stdatomic.h>

#include "base/error.h"
#include "snapshot/state_desc.h"
#include "vmm/mmds/mmds_store.h"
#include "vmm/mmds/mmds_token.h"

struct mmds_config {
	bool v2;	  /* a GET needs a token; else tokens are given, counted and not needed */
	bool imds_compat; /* answer as text whatever the Accept header says */
	uint8_t ipv4[4];  /* the service's address */
};

/* What of it is saved: all. Whoever loads it asks mmds_address_ok(). */
extern const struct state_desc mmds_config_desc;

#define MMDS_ADDRESS_DEFAULT       \
	{                          \
		169, 254, 169, 254 \
	}

/* Link-local and outside the ranges that RFC 3927 (2.1) reserves: 169.254.1.0 to 169.254.254.255. */
bool mmds_address_ok(const uint8_t ipv4[4]);

/* Named as Firecracker's metrics. Added to by the loops of several devices, read by anyone. */
struct mmds_counters {
	_Atomic uint64_t rx_accepted;	      /* frames that were for the service */
	_Atomic uint64_t rx_accepted_err;     /* of these: malformed, or with a wrong checksum */
	_Atomic uint64_t rx_accepted_unusual; /* of these: not TCP, or TCP out of turn */
	_Atomic uint64_t rx_bad_eth;	      /* too short or too long to be an Ethernet frame */
	_Atomic uint64_t rx_invalid_token, rx_no_token;
	_Atomic uint64_t rx_count; /* TCP segments */
	_Atomic uint64_t tx_bytes, tx_count, tx_errors, tx_frames;
	_Atomic uint64_t connections_created, connections_destroyed;
};

#define mmds_count(mmds, name, n) \
	atomic_fetch_add_explicit(&(mmds)->counters.name, (n), memory_order_relaxed)

struct mmds {
	struct mmds_config config; /* fixed once a network device serves it */
	struct mmds_store store;
	struct mmds_tokens tokens;
	struct mmds_counters counters;
};

/* Empty, version 1, at 169.254.169.254. limit: bytes of data. -errno and *err. */
must_check int mmds_create(struct mmds **out, size_t limit, struct error *err);

/* When no device serves it any more. NULL is none. */
void mmds_destroy(struct mmds *mmds);
