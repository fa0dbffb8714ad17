/*
 * Session tokens of the metadata service's version 2.
 *
 * A token says when it ends and proves by a MAC that we said so: nothing is kept, so there is
 * nothing that a guest can fill up, and no token is ever pushed out by others. The alternative, a
 * bounded table of random tokens, needs no cryptography but lets a guest process that asks for many
 * log all others out. Firecracker encrypts the end with AES-GCM; nobody needs it secret, so
 * HMAC-SHA256 of Debian's nettle is enough, and a fifth of the code in a static program. As there,
 * the clock is monotonic.
 *
 * The key is random, made when the service is, and never saved: a token is worthless in another
 * process, so neither in a clone of this machine nor in a restored one.
 */
#pragma once

#include "base/util.h"

#define MMDS_TOKEN_TTL_MIN 1u
#define MMDS_TOKEN_TTL_MAX 21600u /* seconds */
#define MMDS_TOKEN_LEN 64u	  /* characters of base64 */

struct mmds_tokens {
	uint8_t key[32];
};

/* -errno when the kernel has no random bytes. */
must_check int mmds_tokens_init(struct mmds_tokens *tokens);

/*
 * A token for ttl seconds from now_ms (CLOCK_MONOTONIC); not terminated. -EINVAL: ttl is out of range.
 * Any thread, this one and the next: the key does not change.
 */
must_check int mmds_token_make(const struct mmds_tokens *tokens, uint32_t ttl, uint64_t now_ms,
			       char out[MMDS_TOKEN_LEN]);

/* Did we make it, and has it not ended? Takes as long for a wrong MAC as for a right one. */
bool mmds_token_valid(const struct mmds_tokens *tokens, const char *text, size_t len,
		      uint64_t now_ms);
