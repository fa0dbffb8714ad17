/* Rate limiters: part of many requests. */
#include "api-socket/requests.h"

static const struct field bucket_table[] = {
	FIELD(struct bucket_request, size, FIELD_U64, FIELD_REQUIRED,
	      .help = "tokens (bytes or operations) that the bucket holds; 0: no limit"),
	FIELD(struct bucket_request, one_time_burst, FIELD_U64, FIELD_OPTIONAL,
	      .help = "tokens beyond those at the start, never filled again"),
	FIELD(struct bucket_request, refill_time, FIELD_U64, FIELD_REQUIRED,
	      .help = "milliseconds in which an empty bucket fills; 0: no limit"),
};

const struct field_set bucket_fields = FIELD_SET("TokenBucketConfig", struct bucket_request,
						 bucket_table, .lenient = true);

static const struct field rate_table[] = {
	FIELD(struct rate_request, bandwidth, FIELD_STRUCT, FIELD_OPTIONAL, .sub = &bucket_fields,
	      .help = "bytes"),
	FIELD(struct rate_request, ops, FIELD_STRUCT, FIELD_OPTIONAL, .sub = &bucket_fields,
	      .help = "operations"),
};

const struct field_set rate_fields = FIELD_SET("RateLimiterConfig", struct rate_request,
					       rate_table);
