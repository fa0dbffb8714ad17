#include "virtio/rate_limiter.h"

#include "base/clock.h"

static bool has_timer(const struct rate_limiter *limiter)
{
	return limiter->timer.loop;
}

/* `due` stays until the next take(): that is when the request could have gone on. */
static void expired(struct loop_timer *timer)
{
	struct rate_limiter *limiter = container_of(timer, struct rate_limiter, timer);

	limiter->resume(limiter);
}

/* Life -------------------------------------------------------------------------------------------*/

void rate_limiter_init(struct rate_limiter *limiter, const struct rate_config *config,
		       void (*resume)(struct rate_limiter *limiter))
{
	const uint64_t now = clock_now_ns(CLOCK_MONOTONIC);

	*limiter = (struct rate_limiter){ .resume = resume,
					  .timer = { .expired = expired, .watch.fd = -1 } };
	token_bucket_init(&limiter->bytes, &config->bytes, now);
	token_bucket_init(&limiter->ops, &config->ops, now);
	/* Without a descriptor the start tries again, and says so. */
	if (rate_limiter_limits(limiter))
		(void)!loop_timer_open(&limiter->timer, expired);
}

int rate_limiter_start(struct rate_limiter *limiter, struct event_loop *loop)
{
	limiter->loop = loop;
	return rate_limiter_limits(limiter) ? loop_timer_attach(&limiter->timer, loop) : 0;
}

void rate_limiter_stop(struct rate_limiter *limiter)
{
	loop_timer_detach(&limiter->timer);
	limiter->loop = NULL;
	limiter->due = 0;
}

void rate_limiter_fini(struct rate_limiter *limiter)
{
	loop_timer_fini(&limiter->timer);
}

/* Requests ---------------------------------------------------------------------------------------*/

static void charge(struct rate_limiter *limiter, uint64_t bytes, uint64_t ops, uint64_t at)
{
	token_bucket_charge(&limiter->bytes, bytes, at);
	token_bucket_charge(&limiter->ops, ops, at);
}

static uint64_t wait_for(struct rate_limiter *limiter, uint64_t bytes, uint64_t at)
{
	const uint64_t for_bytes = token_bucket_wait(&limiter->bytes, bytes, at);
	const uint64_t for_ops = token_bucket_wait(&limiter->ops, 1, at);

	return for_bytes > for_ops ? for_bytes : for_ops;
}

bool rate_limiter_take(struct rate_limiter *limiter, uint64_t bytes)
{
	uint64_t now, at, wait;

	if (!rate_limiter_limits(limiter)) {
		limiter->due = 0;
		return true;
	}
	if (limiter->timer.armed)
		return false;
	now = clock_now_ns(CLOCK_MONOTONIC);
	at = limiter->due ? MIN(limiter->due, now) : now;
	wait = wait_for(limiter, bytes, at);
	if (wait > now - at) {
		limiter->due = wait > UINT64_MAX - at ? UINT64_MAX : at + wait;
		loop_timer_arm(&limiter->timer, limiter->due - now);
		return false;
	}
	limiter->due = 0;
	charge(limiter, bytes, 1, at + wait);
	return true;
}

void rate_limiter_charge(struct rate_limiter *limiter, uint64_t bytes)
{
	if (rate_limiter_limits(limiter))
		charge(limiter, bytes, 0, clock_now_ns(CLOCK_MONOTONIC));
}

void rate_limiter_put_back(struct rate_limiter *limiter, uint64_t bytes)
{
	token_bucket_put_back(&limiter->bytes, bytes);
	token_bucket_put_back(&limiter->ops, 1);
}

/* Changes ----------------------------------------------------------------------------------------*/

static bool config_limits(const struct bucket_config *config)
{
	return config && config->size > 0 && config->refill_ms > 0;
}

int rate_limiter_prepare(struct rate_limiter *limiter, const struct bucket_config *bytes,
			 const struct bucket_config *ops)
{
	if (!limiter->loop || has_timer(limiter) || !(config_limits(bytes) || config_limits(ops)))
		return 0;
	return loop_timer_attach(&limiter->timer, limiter->loop);
}

/* The one that resumes is the timer, as ever: nobody else's stack is below resume(). */
int rate_limiter_update(struct rate_limiter *limiter, const struct bucket_config *bytes,
			const struct bucket_config *ops)
{
	const uint64_t now = clock_now_ns(CLOCK_MONOTONIC);
	int ret = rate_limiter_prepare(limiter, bytes, ops);

	if (ret < 0)
		return ret;
	if (bytes)
		token_bucket_init(&limiter->bytes, bytes, now);
	if (ops)
		token_bucket_init(&limiter->ops, ops, now);
	if (limiter->timer.armed) {
		limiter->due = now;
		loop_timer_arm(&limiter->timer, 0);
	}
	return 0;
}

struct update {
	struct rate_limiter *limiter;
	const struct bucket_config *bytes, *ops;
};

static int update_on_loop(void *arg)
{
	const struct update *update = arg;

	return rate_limiter_update(update->limiter, update->bytes, update->ops);
}

int rate_limiter_replace(struct rate_limiter *limiter, struct event_loop *loop, const char *name,
			 const struct bucket_config *bytes, const struct bucket_config *ops,
			 struct error *err)
{
	struct update update = { limiter, bytes, ops };
	const int ret = event_loop_call(loop, update_on_loop, &update);

	if (ret < 0)
		return error_set_errno(err, ret, "%s: cannot make a timer for its limit", name);
	return 0;
}

/* Snapshots --------------------------------------------------------------------------------------*/

static const struct state_field bucket_fields[] = {
	STATE_FIELD(struct bucket_state, size, STATE_U64, 1),
	STATE_FIELD(struct bucket_state, one_time_burst, STATE_U64, 1),
	STATE_FIELD(struct bucket_state, refill_ms, STATE_U64, 1),
	STATE_FIELD(struct bucket_state, tokens, STATE_U64, 1),
	STATE_FIELD(struct bucket_state, debt, STATE_U64, 1),
	STATE_FIELD(struct bucket_state, burst, STATE_U64, 1),
};

static const struct state_desc bucket_desc = STATE_DESC("token_bucket", struct bucket_state, 1,
							bucket_fields);

static const struct state_field limiter_fields[] = {
	STATE_NESTED(struct rate_limiter_state, bytes, &bucket_desc, 1),
	STATE_NESTED(struct rate_limiter_state, ops, &bucket_desc, 1),
};

const struct state_desc rate_limiter_state_desc =
	STATE_DESC("rate_limiter", struct rate_limiter_state, 1, limiter_fields);

static void save_bucket(struct token_bucket *bucket, struct bucket_state *state)
{
	token_bucket_settle(bucket, clock_now_ns(CLOCK_MONOTONIC));
	*state = (struct bucket_state){
		.size = bucket->config.size,
		.one_time_burst = bucket->config.one_time_burst,
		.refill_ms = bucket->config.refill_ms,
		.tokens = bucket->level.tokens,
		.debt = bucket->level.debt,
		.burst = bucket->level.burst,
	};
}

static int load_bucket(struct token_bucket *bucket, const struct bucket_state *state)
{
	const struct bucket_config config = { state->size, state->one_time_burst,
					      state->refill_ms };
	const struct bucket_level level = { state->tokens, state->debt, state->burst };

	return token_bucket_restore(bucket, &config, &level, clock_now_ns(CLOCK_MONOTONIC));
}

void rate_limiter_save(struct rate_limiter *limiter, struct rate_limiter_state *state)
{
	save_bucket(&limiter->bytes, &state->bytes);
	save_bucket(&limiter->ops, &state->ops);
}

int rate_limiter_load(struct rate_limiter *limiter, const struct rate_limiter_state *state)
{
	struct token_bucket bytes;
	int ret = load_bucket(&bytes, &state->bytes);

	if (ret == 0)
		ret = load_bucket(&limiter->ops, &state->ops);
	if (ret == 0)
		limiter->bytes = bytes;
	return ret;
}
