/* From an HTTP request to a method, and from its reply to an answer in Firecracker's form. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api-socket/http_priv.h"
#include "api-socket/json_text.h"
#include "api-socket/method.h"
#include "vmm/mmds/mmds_json.h"

static const char *const verbs[API_VERBS] = {
	[API_GET] = "GET",
	[API_PUT] = "PUT",
	[API_PATCH] = "PATCH",
	[API_DELETE] = "DELETE",
};

static const char *verb_name(enum api_verb verb)
{
	return (size_t)verb < ARRAY_SIZE(verbs) ? verbs[verb] : "";
}

int http_verb(unsigned int method)
{
	switch (method) {
	case HTTP_GET:
		return API_GET;
	case HTTP_PUT:
		return API_PUT;
	case HTTP_PATCH:
		return API_PATCH;
	case HTTP_DELETE:
		return API_DELETE;
	default:
		return -1;
	}
}

int http_refuse(struct http *http, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(http->refusal, sizeof(http->refusal), fmt, args);
	va_end(args);
	return -1;
}

/* Answers ---------------------------------------------------------------------------------------*/

/* body NULL: none. No reason phrase follows the status, but its space does: Firecracker's clients have
 * seen nothing else. */
static void send_answer(struct http *http, unsigned int status, const struct api_reply *reply,
			const char *type, const char *body)
{
	char head[256 + sizeof(reply->warning)];
	int len =
		snprintf(head, sizeof(head),
			 "HTTP/1.1 %u \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n%s",
			 status, reply && reply->deprecated ? "Deprecation: true\r\n" : "");

	/* RFC 7234, 5.5: 199 is a warning of any kind. */
	if (reply && reply->warning[0])
		len += snprintf(head + len, sizeof(head) - (size_t)len,
				"Warning: 199 mayfly \"%s\"\r\n", reply->warning);
	if (body)
		len += snprintf(head + len, sizeof(head) - (size_t)len,
				"Content-Type: %s\r\nContent-Length: %zu\r\n", type, strlen(body));
	len += snprintf(head + len, sizeof(head) - (size_t)len, "\r\n");
	connection_send(http->connection, head, (size_t)len);
	if (body)
		connection_send(http->connection, body, strlen(body));
}

static void send_json(struct http *http, unsigned int status, const struct api_reply *reply,
		      json_t *tree)
{
	char none;
	size_t len = mmds_json_write(tree, &none, 0);
	cleanup_free char *text = malloc(len + 1);

	if (text) {
		mmds_json_write(tree, text, len);
		text[len] = '\0';
	}
	if (text)
		send_answer(http, status, reply, "application/json", text);
	else
		send_answer(http, 400, NULL, "application/json",
			    "{\"fault_message\":\"out of memory\"}");
}

void http_send_continue(struct http *http)
{
	send_answer(http, 100, NULL, NULL, NULL);
}

/* Of what is no request; in another form than faults, as Firecracker has it. */
void http_send_refusal(struct http *http)
{
	char text[sizeof(http->refusal) + 100];

	snprintf(text, sizeof(text),
		 "{ \"error\": \"%s\nAll previous unanswered requests will be dropped.\" }",
		 http->refusal);
	send_answer(http, 400, NULL, "application/json", text);
}

/* What came from outside may be no UTF-8, which JSON must be. */
static void send_fault(struct http *http, unsigned int status, const struct api_reply *reply,
		       const char *text)
{
	json_t *tree = json_pack("{s:s}", "fault_message", text);

	if (!tree)
		tree = json_pack("{s:s}", "fault_message", "The request is not valid UTF-8.");
	send_json(http, status, reply, tree);
	json_decref(tree);
}

printf_like(2, 3) static void fault(struct http *http, const char *fmt, ...)
{
	char text[1600];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	send_fault(http, 400, NULL, text);
}

static void send_reply(struct http *http, enum api_outcome outcome, struct api_reply *reply)
{
	if (outcome != API_DONE)
		send_fault(http, reply->too_large ? 413 : 400, reply, reply->err.text);
	else if (reply->result && reply->text_type)
		send_answer(http, 200, reply, reply->text_type, json_string_value(reply->result));
	else if (reply->result)
		send_json(http, 200, reply, reply->result);
	else
		send_answer(http, 204, reply, NULL, NULL);
	json_decref(reply->result);
	if (reply->ends_process)
		connection_end_process(http->connection);
}

/* Requests --------------------------------------------------------------------------------------*/

/* The path of a URL, without the slashes at its ends; cut out of http->url. */
static char *find_path(struct http *http)
{
	char *path = http->url;
	char *end;

	if (strncmp(path, "http://", 7) == 0)
		path += 7;
	path = strchr(path, '/');
	if (!path)
		return http->url + http->url_len;
	while (*path == '/')
		path++;
	end = path + strlen(path);
	while (end > path && end[-1] == '/')
		*--end = '\0';
	return path;
}

/* By its first part; a PUT below /snapshot by the second, as Firecracker has it. */
static void fault_no_method(struct http *http, enum api_verb verb, const char *path)
{
	const size_t len = strcspn(path, "/");
	const bool is_snapshot = verb == API_PUT && len == strlen("snapshot") &&
				 strncmp(path, "snapshot", len) == 0;
	const char *part = is_snapshot ? path + len + (path[len] == '/') : path;

	if (is_snapshot && !*part)
		fault(http, "Missing snapshot operation type.");
	else
		fault(http, "Invalid request method and/or path: %s %s%.*s.", verb_name(verb),
		      is_snapshot ? "/snapshot/" : "", (int)strcspn(part, "/"), part);
}

static void count_call(struct http *http, const struct method *method, bool fails)
{
	method_count(connection_controller(http->connection), method, fails);
}

/* Cuts the id out of the path. */
static bool check_path_id(struct http *http, const struct method *method, char *id)
{
	struct error err;

	id[strcspn(id, "/")] = '\0';
	if (api_id_check(id, "", &err) == 0)
		return true;
	count_call(http, method, !*id);
	fault(http, "%s", err.text);
	return false;
}

#define JSON_ERROR "An error occurred when deserializing the json body of a request: "

static void call(struct http *http, const struct method *method, const char *id, json_t *tree)
{
	const struct field_fds fds = { http->fds, http->fd_count };
	struct api_input input = { .tree = tree,
				   .fds = http->fd_count ? &fds : NULL,
				   .path_id = method->id_field ? id : NULL,
				   .wants_plain_text = http->wants_plain_text };
	struct field_error why;
	struct api_reply reply;
	struct error err;
	enum api_outcome outcome;

	outcome = method_call(connection_controller(http->connection), method, &input, &why,
			      &reply);
	if (outcome == API_BAD_FIELDS) {
		json_text_explain(http->body ? http->body : "", http->body_len, &why, &err);
		fault(http, JSON_ERROR "%s.", err.text);
	} else {
		send_reply(http, outcome, &reply);
	}
}

static void call_with_body(struct http *http, const struct method *method, const char *id)
{
	struct error err;
	bool is_value = method->fields && method->fields->whole;
	json_t *tree = is_value ? json_text_read_value(http->body, http->body_len, &err)
				: json_text_read(http->body, http->body_len, &err);

	if (!tree) {
		count_call(http, method, true);
		if (method->fields)
			json_text_refused_before(http->body, http->body_len, method->fields, &err);
		fault(http, JSON_ERROR "%s.", err.text);
		return;
	}
	call(http, method, id, tree);
	json_decref(tree);
}

/* Without a body only the path says what is meant. */
static void call_method(struct http *http, const struct method *method, const char *id)
{
	json_t *tree;

	if (http->body_len) {
		call_with_body(http, method, id);
		return;
	}
	tree = method->id_field ? json_pack("{s:s}", method->id_field, id) : NULL;
	call(http, method, id, tree);
	json_decref(tree);
}

/* /balloon takes anything behind it, but this, which is neither of it nor one of hinting's own paths. */
static bool is_lost_hinting(enum api_verb verb, const struct method *method, const char *rest)
{
	return (verb == API_GET || verb == API_PATCH) && method &&
	       strcmp(method->path, "balloon") == 0 && strcspn(rest, "/") == strlen("hinting") &&
	       strncmp(rest, "hinting", strlen("hinting")) == 0;
}

static void fault_lost_hinting(struct http *http, enum api_verb verb, const char *rest)
{
	const char *word = rest + strlen("hinting");

	word += *word == '/';
	fault(http, "Unrecognized %s request path `/hinting/%.*s`.", verb_name(verb),
	      (int)strcspn(word, "/"), word);
}

static void serve(struct http *http, enum api_verb verb, char *path)
{
	char *id = path;
	const struct method *method = method_by_path(verb, path, &id);
	bool wants_body = verb == API_PUT || verb == API_PATCH;

	if (verb == API_GET && http->body_len) {
		fault(http, "GET request cannot have a body.");
	} else if (verb == API_DELETE && http->body_len) {
		fault(http, "Empty Delete request.");
	} else if (is_lost_hinting(verb, method, id)) {
		fault_lost_hinting(http, verb, id);
	} else if (wants_body && !http->body_len && !(method && method->may_be_empty)) {
		fault(http, "Empty %s request.", verb_name(verb));
	} else if (!method) {
		fault_no_method(http, verb, path);
	} else if (method->exact && *id) {
		count_call(http, method, true);
		fault(http, "Unrecognized %s request path `%s`.", verb_name(verb), id);
	} else if (!method->id_field || check_path_id(http, method, id)) {
		call_method(http, method, id);
	}
}

void http_serve(struct http *http)
{
	serve(http, (enum api_verb)http_verb(http->parser.method), find_path(http));
}
