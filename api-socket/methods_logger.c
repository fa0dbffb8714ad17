/* PUT /logger. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "api-socket/methods.h"
#include "api-socket/os_error.h"
#include "api-socket/version.h"
#include "base/log.h"
#include "base/version.h"

static const struct {
	const char *name;
	enum log_level level;
} levels[] = {
	{ "off", LOG_OFF },	 { "error", LOG_ERROR }, { "warn", LOG_WARN },
	{ "warning", LOG_WARN }, { "info", LOG_INFO },	 { "debug", LOG_DEBUG },
	{ "trace", LOG_TRACE },
};

static int find_level(const char *name, enum log_level *level)
{
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++)
		if (strcasecmp(levels[i].name, name) == 0) {
			*level = levels[i].level;
			return 0;
		}
	return -EINVAL;
}

bool controller_knows_level(const char *name)
{
	enum log_level level;

	return find_level(name, &level) == 0;
}

static int check_level(const char *text, char *why, size_t size)
{
	enum log_level level;

	snprintf(why, size, "Invalid LevelFilter");
	return find_level(text, &level);
}

static const struct field fields[] = {
	FIELD(struct logger_request, log_path, FIELD_FILE, FIELD_OPTIONAL,
	      .expected = "path string", .help = "a file or named pipe"),
	FIELD(struct logger_request, level, FIELD_STRING, FIELD_OPTIONAL, .check = check_level,
	      .help = "Off, Error, Warn, Info (default), Debug or Trace, in any case"),
	FIELD(struct logger_request, show_level, FIELD_BOOL, FIELD_OPTIONAL,
	      .help = "show each message's level"),
	FIELD(struct logger_request, show_log_origin, FIELD_BOOL, FIELD_OPTIONAL,
	      .help = "show where in the source it is from"),
	FIELD(struct logger_request, module, FIELD_STRING, FIELD_OPTIONAL,
	      .help = "only what source files say whose path begins so"),
};

static const struct field_set logger_fields = FIELD_SET("LoggerConfig", struct logger_request,
							fields);

/* What is not said stays as it was, but the level, which is Info then. */
static int put_logger(struct controller *controller, struct api_request *request,
		      struct api_reply *reply)
{
	const struct logger_request *logger = request->data;
	struct log_target *target = &controller->log;
	enum log_level level = LOG_INFO;
	char why[OS_ERROR_MAX];
	bool is_given = logger->log_path.path || logger->log_path.fd >= 0;
	int fd = is_given ? controller_open_sink(&logger->log_path) : -1;
	int old = target->fd;
	int ret;

	if (is_given && fd < 0)
		return reply_refuse(reply, "Logger error: Failed to open target file: %s",
				    os_error(why, fd));
	ret = kept_take(&controller->logger, &logger_fields, request, &reply->err);
	if (ret < 0) {
		close_fd(&fd);
		return ret;
	}
	if (logger->level)
		(void)!find_level(logger->level, &level);
	if (fd >= 0)
		target->fd = fd;
	if (logger->show_level.given)
		target->show_level = logger->show_level.value;
	if (logger->show_log_origin.given)
		target->show_origin = logger->show_log_origin.value;
	target->module = logger->module;
	log_set_level(level);
	log_set_target(target);
	if (fd < 0)
		return 0;
	close_fd(&old);
	/* Whoever is sent a log wants to know whose it is. */
	log_info("mayfly v" MAYFLY_VERSION ", with the API of Firecracker v" API_VERSION);
	return 0;
}

static const struct method methods[] = {
	{
		.name = "logger.put",
		.metric = "logger",
		.verb = API_PUT,
		.path = "logger",
		.phases = PHASES_BEFORE,
		.fields = &logger_fields,
		.handle = put_logger,
		.help = "Writes the log to a file or pipe",
	},
};

const struct method_group logger_methods = METHOD_GROUP(methods);
