/*
 * MessagePack-RPC (github.com/msgpack-rpc/msgpack-rpc, spec.md): requests in, responses and notifications
 * out.
 *
 *   request       [0, id, "drive.put", [{"drive_id": "root", ...}]]
 *   response      [1, id, error, result]      error: nil, or {"message": "..."}
 *   notification  [2, "vm.state", [{"state": "Running"}]]
 *
 * A client may send further requests before it has read the answer to the first; the answer to one that
 * waits for an event comes when that happens, after the answers to later ones. A notification from a client is a
 * request that nobody wants an answer to.
 *
 * What is no MessagePack-RPC at all ends the connection, after a notification "error" that says why.
 */
#include <msgpack.h>
#include <stdio.h>

#include "api-socket/connection.h"
#include "api-socket/controller_console.h"
#include "api-socket/controller_priv.h"
#include "api-socket/rpc_tree.h"
#include "base/log.h"

/* Requests of one client that wait for an event. */
#define WAITING_MAX 32u

/* What of the console waits for a client that does not read; what comes then is lost to it. */
#define CONSOLE_PENDING_MAX 131072u

struct waiting {
	json_int_t id;
	unsigned int kinds; /* of events; 0: a free place */
};

struct rpc {
	struct connection *connection;
	struct listener listener;
	struct waiting waiting[WAITING_MAX];
	json_int_t dropped; /* bytes of the console, since the last that were sent */
};

/* Writing ---------------------------------------------------------------------------------------*/

static int write_out(void *connection, const char *bytes, size_t len)
{
	connection_send(connection, bytes, len);
	return 0;
}

/* Takes the tree over. Without memory for it the connection has lost an answer and ends. */
static void send_tree(struct rpc *rpc, json_t *tree)
{
	if (!tree || rpc_tree_write(tree, write_out, rpc->connection) != 0)
		connection_break(rpc->connection);
	json_decref(tree);
}

/* Without a tree around the result: this is every call's way out. */
static void send_result(struct rpc *rpc, json_int_t id, json_t *result)
{
	msgpack_packer packer;

	msgpack_packer_init(&packer, rpc->connection, write_out);
	msgpack_pack_array(&packer, 4);
	msgpack_pack_int64(&packer, RPC_RESPONSE);
	msgpack_pack_int64(&packer, id);
	msgpack_pack_nil(&packer);
	if (rpc_tree_write(result, write_out, rpc->connection) != 0)
		connection_break(rpc->connection);
}

static void send_failure(struct rpc *rpc, json_int_t id, const char *text)
{
	send_tree(rpc, json_pack("[i,I,{s:s},n]", RPC_RESPONSE, id, "message", text));
}

static void send_notification(struct rpc *rpc, const char *name, json_t *detail)
{
	send_tree(rpc, json_pack("[i,s,[O]]", RPC_NOTIFICATION, name, detail));
}

/* Events ----------------------------------------------------------------------------------------*/

static void on_event(struct listener *listener, enum api_event event, json_t *detail)
{
	struct rpc *rpc = container_of(listener, struct rpc, listener);
	bool is_subscribed = listener->kinds & 1u << event, is_awaited = false;
	const bool is_fleeting = EVENTS_FLEETING & 1u << event;
	size_t before;

	if (is_fleeting && connection_pending(rpc->connection) > 0)
		is_subscribed = false;
	for (unsigned int i = 0; i < WAITING_MAX; i++) {
		struct waiting *waiting = &rpc->waiting[i];

		if (!(waiting->kinds & 1u << event))
			continue;
		waiting->kinds = 0;
		send_result(rpc, waiting->id, detail);
		is_awaited = true;
	}
	before = connection_pending(rpc->connection);
	if (is_subscribed)
		send_notification(rpc, event_names[event], detail);
	if (is_subscribed || is_awaited)
		connection_wake(rpc->connection, connection_pending(rpc->connection) - before);
	if (is_fleeting)
		connection_send_waiting(rpc->connection);
}

/* Whoever is slow misses some of it, and is told how much; nobody waits. */
static void on_console(struct listener *listener, const char *name, json_t *detail, size_t bytes)
{
	struct rpc *rpc = container_of(listener, struct rpc, listener);
	json_int_t lost = json_integer_value(json_object_get(detail, "dropped"));
	const size_t before = connection_pending(rpc->connection);
	json_t *own = NULL;

	if (bytes > 0 && connection_pending(rpc->connection) > CONSOLE_PENDING_MAX) {
		rpc->dropped += (json_int_t)bytes + lost;
		return;
	}
	if (rpc->dropped > 0 && bytes > 0) {
		own = json_copy(detail);
		json_object_set_new(own, "dropped", json_integer(rpc->dropped + lost));
		rpc->dropped = 0;
	}
	send_notification(rpc, name, own ? own : detail);
	json_decref(own);
	connection_wake(rpc->connection, connection_pending(rpc->connection) - before);
}

/* False when too many wait already. */
static bool wait_for(struct rpc *rpc, json_int_t id, unsigned int kinds)
{
	for (unsigned int i = 0; i < WAITING_MAX; i++)
		if (rpc->waiting[i].kinds == 0) {
			rpc->waiting[i] = (struct waiting){ id, kinds };
			return true;
		}
	return false;
}

/* Requests --------------------------------------------------------------------------------------*/

struct message {
	const json_t *id; /* NULL: a notification */
	const char *name;
	json_t *params; /* an object, or NULL */
};

/* Why it is none; NULL when it is. */
static const char *read_message(const json_t *tree, struct message *message)
{
	const json_t *params;
	size_t count = json_array_size(tree);
	json_int_t type = json_integer_value(json_array_get(tree, 0));
	size_t at = 1;

	if (!json_is_integer(json_array_get(tree, 0)) ||
	    !((type == RPC_REQUEST && count == 4) || (type == RPC_NOTIFICATION && count == 3)))
		return "a message is [0, id, method, params] or [2, method, params]";
	message->id = type == RPC_REQUEST ? json_array_get(tree, at++) : NULL;
	if (type == RPC_REQUEST &&
	    (!json_is_integer(message->id) || json_integer_value(message->id) < 0 ||
	     json_integer_value(message->id) > UINT32_MAX))
		return "a request's id is a number of 32 bits";
	message->name = json_string_value(json_array_get(tree, at++));
	params = json_array_get(tree, at);
	if (!message->name || !json_is_array(params) || json_array_size(params) > 1)
		return "a method is a string, and its params an array of at most one map";
	message->params = json_array_get(params, 0);
	if (message->params && !json_is_object(message->params))
		return "a method's params are an array of at most one map";
	return NULL;
}

/* "drives[0].rate_limiter: unknown field ..." */
static void explain(const struct field_error *why, char *text, size_t size)
{
	size_t len = 0;

	for (unsigned int i = 0; i < why->step_count && len < size; i++) {
		const struct field_step *step = &why->steps[i];
		int added = step->key ? snprintf(text + len, size - len, "%s%s", i ? "." : "",
						 step->key)
				      : snprintf(text + len, size - len, "[%zu]", step->index);

		len += added > 0 ? (size_t)added : 0;
	}
	if (len < size)
		snprintf(text + len, size - len, "%s%s", len ? ": " : "", why->text);
}

/* What there is to warn of stands in the result, whose place it takes where there is none. */
static void send_reply(struct rpc *rpc, json_int_t id, struct api_reply *reply)
{
	json_t *nothing = json_null();

	if (reply->warning[0] && !reply->result)
		reply->result = json_object();
	if (reply->warning[0])
		json_object_set_new(reply->result, "warning", json_string(reply->warning));
	send_result(rpc, id, reply->result ? reply->result : nothing);
}

static void answer(struct rpc *rpc, const struct message *message, enum api_outcome outcome,
		   struct api_reply *reply, const struct field_error *why)
{
	json_int_t id = json_integer_value(message->id);
	char text[800];

	if (!message->id)
		return;
	if (outcome == API_BAD_FIELDS) {
		explain(why, text, sizeof(text));
		send_failure(rpc, id, text);
	} else if (outcome != API_DONE) {
		send_failure(rpc, id, reply->err.text);
	} else if (!reply->awaits) {
		send_reply(rpc, id, reply);
	} else if (!wait_for(rpc, id, reply->awaits)) {
		send_failure(rpc, id, "too many requests of this client wait for an event");
	}
}

static void call(struct rpc *rpc, const struct message *message, const struct field_fds *fds)
{
	const struct method *method = method_by_name(message->name);
	struct api_input input = {
		.tree = message->params,
		.fds = fds,
		.listener = &rpc->listener,
	};
	struct field_error why = { 0 };
	struct api_reply reply = { 0 };
	enum api_outcome outcome = API_REFUSED;

	if (method)
		outcome = method_call(connection_controller(rpc->connection), method, &input, &why,
				      &reply);
	else
		error_set(&reply.err, ENOENT, "no method `%s`; `methods` lists them",
			  message->name);
	answer(rpc, message, outcome, &reply, &why);
	json_decref(reply.result);
	if (reply.ends_process)
		connection_end_process(rpc->connection);
}

/* A connection ----------------------------------------------------------------------------------*/

static ssize_t give_up(struct rpc *rpc, const char *why)
{
	json_t *detail = json_pack("{s:s}", "message", why);

	log_info("api: a client's MessagePack-RPC: %s", why);
	if (detail)
		send_notification(rpc, "error", detail);
	json_decref(detail);
	return -EPROTO;
}

static ssize_t serve(struct rpc *rpc, const uint8_t *bytes, size_t len)
{
	int fds[CONNECTION_FDS_MAX];
	const struct field_fds lent = { fds, connection_take_fds(rpc->connection, len, fds) };
	struct error err;
	json_t *tree = rpc_tree_read(bytes, len, &err);
	struct message message = { 0 };
	const char *why = tree ? read_message(tree, &message) : err.text;
	ssize_t ret = (ssize_t)len;

	if (why)
		ret = give_up(rpc, why);
	else
		call(rpc, &message, &lent);
	connection_request_done(rpc->connection);
	for (unsigned int i = 0; i < lent.count; i++)
		close_fd(&fds[i]); /* who wanted it has made a copy */
	json_decref(tree);
	return ret;
}

static ssize_t consume(void *front, const uint8_t *bytes, size_t count)
{
	struct rpc *rpc = front;
	const char *why = "";
	size_t len = 0;

	switch (rpc_measure(bytes, count, connection_payload_max(rpc->connection), &len, &why)) {
	case RPC_WHOLE:
		return serve(rpc, bytes, len);
	case RPC_PART:
		return 0;
	default:
		return give_up(rpc, why);
	}
}

static void *create(struct connection *connection)
{
	struct rpc *rpc = calloc(1, sizeof(*rpc));

	if (!rpc)
		return NULL;
	rpc->connection = connection;
	rpc->listener.heard = on_event;
	rpc->listener.console = on_console;
	listeners_add(&connection_controller(connection)->listeners, &rpc->listener);
	return rpc;
}

static void destroy(void *front)
{
	struct rpc *rpc = front;

	struct controller *controller = connection_controller(rpc->connection);

	controller_console_detach(controller, &rpc->listener);
	listeners_remove(&controller->listeners, &rpc->listener);
	free(rpc);
}

const struct front_end rpc_front_end = {
	.name = "MessagePack-RPC",
	.create = create,
	.destroy = destroy,
	.consume = consume,
};
