#include "vmm/mmds/mmds_token.h"

#include <nettle/base64.h>
#include <nettle/hmac.h>
#include <nettle/memops.h>
#include <string.h>
#include <sys/random.h>

/* A multiple of three bytes: base64 without padding. */
struct token {
	uint64_t end_ms;
	uint8_t nonce[8]; /* no two tokens are the same */
	uint8_t mac[SHA256_DIGEST_SIZE];
};

_Static_assert(sizeof(struct token) == 48 && BASE64_ENCODE_RAW_LENGTH(48) == MMDS_TOKEN_LEN,
	       "a token is 64 characters");

static void compute_mac(const struct mmds_tokens *tokens, const struct token *token,
			uint8_t mac[SHA256_DIGEST_SIZE])
{
	struct hmac_sha256_ctx ctx;

	hmac_sha256_set_key(&ctx, sizeof(tokens->key), tokens->key);
	hmac_sha256_update(&ctx, offsetof(struct token, mac), (const uint8_t *)token);
	hmac_sha256_digest(&ctx, SHA256_DIGEST_SIZE, mac);
}

static int random_bytes(void *out, size_t len)
{
	const ssize_t got = getrandom(out, len, GRND_NONBLOCK);

	if (got < 0)
		return -errno;
	return got == (ssize_t)len ? 0 : -EAGAIN;
}

int mmds_tokens_init(struct mmds_tokens *tokens)
{
	return random_bytes(tokens->key, sizeof(tokens->key));
}

int mmds_token_make(const struct mmds_tokens *tokens, uint32_t ttl, uint64_t now_ms,
		    char out[MMDS_TOKEN_LEN])
{
	struct token token = { .end_ms = now_ms + (uint64_t)ttl * 1000 };
	int ret;

	if (ttl < MMDS_TOKEN_TTL_MIN || ttl > MMDS_TOKEN_TTL_MAX)
		return -EINVAL;
	ret = random_bytes(token.nonce, sizeof(token.nonce));
	if (ret < 0)
		return ret;
	compute_mac(tokens, &token, token.mac);
	base64_encode_raw(out, sizeof(token), (const uint8_t *)&token);
	return 0;
}

bool mmds_token_valid(const struct mmds_tokens *tokens, const char *text, size_t len,
		      uint64_t now_ms)
{
	uint8_t bytes[BASE64_DECODE_LENGTH(MMDS_TOKEN_LEN)], mac[SHA256_DIGEST_SIZE];
	struct base64_decode_ctx ctx;
	size_t got = sizeof(bytes);
	struct token token;

	if (len != MMDS_TOKEN_LEN)
		return false;
	base64_decode_init(&ctx);
	if (!base64_decode_update(&ctx, &got, bytes, len, text) || !base64_decode_final(&ctx) ||
	    got != sizeof(token))
		return false;
	memcpy(&token, bytes, sizeof(token));
	compute_mac(tokens, &token, mac);
	return memeql_sec(mac, token.mac, sizeof(mac)) && token.end_ms > now_ms;
}
