/* PUT /entropy. */
#include "api-socket/methods.h"

static const struct field fields[] = {
	FIELD(struct entropy_request, rate_limiter, FIELD_STRUCT, FIELD_OPTIONAL,
	      .sub = &rate_fields, .help = "how much the guest may have"),
};

const struct field_set entropy_fields = FIELD_SET("EntropyDeviceConfig", struct entropy_request,
						  fields);

static int put_entropy(struct controller *controller, struct api_request *request,
		       struct api_reply *reply)
{
	struct entropy_request *entropy = request->data;
	int ret = kept_take(&controller->entropy, &entropy_fields, request, &reply->err);

	if (ret == 0)
		compose_rate_kept(&entropy->rate_limiter);
	return ret;
}

static const struct method methods[] = {
	{
		.name = "entropy.put",
		.verb = API_PUT,
		.path = "entropy",
		.phases = PHASES_BEFORE,
		.fields = &entropy_fields,
		.handle = put_entropy,
		.help = "Adds a source of random numbers",
	},
};

const struct method_group entropy_methods = METHOD_GROUP(methods);
